"""`report.md` as text: what was trained, how it went, how good it is, where it is bad, how to do it again.

Only words and tables here; the pictures it points at are made by `engines.training.seen.report`. The trap: the
page is Markdown that people open in any viewer, so paths are relative and a class name may hold a `|`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from engines.evaluation.evaluate import Evaluation
from engines.training.seen.progress import clock

__all__ = ["PAGE", "Page", "ended", "table"]

PAGE = "report.md"
"""Its name in the training's folder."""


@dataclass(frozen=True)
class Page:
    """All that a report says; `text` lays it out."""

    name: str
    outcome: str
    """How it ended, in one sentence."""
    facts: Mapping[str, str]
    """Command, machine, data, revision: what somebody needs to trust or repeat the figures."""
    best: str
    """Which checkpoint the scores are of."""
    scores: Mapping[str, Evaluation]
    """By validation set; empty where nothing was scored."""
    pictures: Mapping[str, PurePosixPath]
    """`curves`, and by set `SET/confusion` and `SET/worst`; relative to the page."""
    config: str
    """YAML."""
    warnings: Sequence[str] = field(default_factory=tuple)

    @property
    def text(self) -> str:
        """The whole page."""
        parts = [f"# {self.name}: a training's report", self.outcome]
        parts += [f"> {warning}" for warning in self.warnings]
        if "curves" in self.pictures:
            parts.append(f"![loss, learning rate and mIoU over the steps]({self.pictures['curves']})")
        for name, evaluation in self.scores.items():
            parts += self._set(name, evaluation)
        parts += [
            "## Where these figures come from",
            table(("", ""), [(key, text) for key, text in self.facts.items()]),
        ]
        parts += ["## The config", f"```yaml\n{self.config.strip()}\n```"]
        return "\n\n".join(parts) + "\n"

    def _set(self, name: str, evaluation: Evaluation) -> list[str]:
        scores = evaluation.scores
        parts = [
            f"## {name}: {scores.n_images} pictures, {evaluation.protocol}",
            f"{self.best}. Pooled over all pixels; 95 % bootstrap intervals in brackets.",
            table(("measure", "value"), _measures(evaluation)),
            table(("class", "IoU", "boundary F, 2 px", "of all pixels", "falsely so called"), _classes(evaluation)),
        ]
        if f"{name}/confusion" in self.pictures:
            parts.append(f"![confusion matrix of {name}]({self.pictures[f'{name}/confusion']})")
        if f"{name}/worst" in self.pictures:
            parts.append(f"The pictures with the lowest mIoU of their own:\n\n![]({self.pictures[f'{name}/worst']})")
        return parts


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _measures(evaluation: Evaluation) -> list[tuple[str, str]]:
    scores = evaluation.scores
    rows = [
        ("mIoU", _number(scores.miou, scores.intervals.get("miou"))),
        ("pixel accuracy", _number(scores.pixel_accuracy, scores.intervals.get("pixel_accuracy"))),
        ("boundary F, 2 px", _number(scores.mean_boundary_f, scores.intervals.get("boundary_f"))),
    ]
    rows += [(f"mIoU within {width} px of a contour", _number(v)) for width, v in scores.trimap_miou.items()]
    rows.append(("calibration error", _number(scores.calibration_error)))
    return [(name, told) for name, told in rows if told != "-"]


def _classes(evaluation: Evaluation) -> list[tuple[str, ...]]:
    scores = evaluation.scores
    n_true = scores.confusion.sum(axis=1) if scores.confusion.size else [0] * len(scores.iou)
    n_all = max(1, int(sum(n_true)))
    return [
        (
            name,
            _number(iou, scores.intervals.get(f"iou/{name}")),
            _number(scores.boundary_f.get(name, math.nan)),
            f"{100 * int(n_true[index]) / n_all:.2f} %",
            f"{100 * scores.false_share.get(name, math.nan):.2f} %",
        )
        for index, (name, iou) in enumerate(scores.iou.items())
    ]


def _number(value: float, interval: tuple[float, float] | None = None) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.4f}" + ("" if interval is None else f" [{interval[0]:.4f}, {interval[1]:.4f}]")


def ended(name: str, step: int, n_steps: int, is_finished: bool, seconds: float, first_step: int) -> str:
    """How a training ended, as the page's first sentence."""
    here = f"{step - first_step} of them in this run, in {clock(seconds)}" if first_step else f"in {clock(seconds)}"
    if is_finished:
        return f"`{name}` finished its {n_steps} steps, {here}."
    return f"`{name}` was **stopped** at step {step} of {n_steps} ({here}); `--resume` goes on from there."
