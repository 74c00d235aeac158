"""`OUT/report.md` at the end of each run, with its pictures in `OUT/report/`.

`best.pt` is read back and scored once more, with everything that `evaluate` measures: so the page is about the
file that will be exported, not about something in memory. A run that was stopped gets its curves and no scores,
since whoever stops a training wants it to end. The trap: the curves are drawn from the history, so `Recorder`
must stand before this watcher in the list.
"""

import platform
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import yaml

from engines.evaluation.contact_sheet import WorstPictures
from engines.evaluation.evaluate import Evaluation, evaluate
from engines.machine import machine_facts
from engines.training.seen.curves import draw_confusion, draw_curves
from engines.training.seen.history import FILE_NAME, History
from engines.training.seen.page import PAGE, Page, ended
from engines.training.watch import EvaluationFacts, Outcome, StartFacts, ValidationSet, Watcher

if TYPE_CHECKING:
    from engines.training.checkpoint import Checkpoint

__all__ = ["FOLDER", "Report"]

FOLDER = "report"


class Report(Watcher):
    """The page and its pictures.

    Args:
        command: as it was typed, for the page.
    """

    def __init__(self, command: str) -> None:
        self.command = command
        self._start: StartFacts | None = None
        self._start_s = time.monotonic()
        self._sets: Mapping[str, ValidationSet] = {}
        self._warnings: list[str] = []

    def started(self, facts: StartFacts) -> None:
        """Remember, and begin the clock."""
        self._start = facts
        self._start_s = time.monotonic()

    def evaluated(self, facts: EvaluationFacts) -> None:
        """Keep the open sets for the end."""
        self._sets = facts.sets

    def warned(self, message: str) -> None:
        """A reader of the page should know it too."""
        self._warnings.append(message)

    def ended(self, outcome: Outcome) -> None:
        """Score, draw, write."""
        assert self._start is not None, "started comes first"
        start, seconds = self._start, time.monotonic() - self._start_s
        config, folder = start.config, start.out / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        pictures: dict[str, PurePosixPath] = {}
        history = History(start.out / FILE_NAME)
        if history.trained or history.scored:
            title = f"{config.name}: {start.n_steps} steps of {config.schedule.batch}"
            draw_curves(history.trained, history.scored, folder / "curves.png", title)
            pictures["curves"] = PurePosixPath(FOLDER, "curves.png")
        scores: dict[str, Evaluation] = {}
        best = "No checkpoint was scored"
        if outcome.is_finished and outcome.best_path is not None and config.validation:
            checkpoint = _read(outcome.best_path)
            best = f"Of `{outcome.best_path.name}`, step {checkpoint.step}"
            scores = self._scored(checkpoint, folder, pictures)
        page = Page(
            config.name,
            ended(config.name, outcome.step, start.n_steps, outcome.is_finished, seconds, start.first_step),
            self._facts(start),
            best,
            scores,
            pictures,
            yaml.safe_dump(
                config.model_dump(mode="json", exclude_defaults=True),
                sort_keys=False,
                default_flow_style=None,
                width=110,
            ),
            tuple(self._warnings),
        )
        partial = start.out / f"{PAGE}.partial"
        partial.write_text(page.text, encoding="utf-8")
        partial.replace(start.out / PAGE)

    def _scored(
        self, checkpoint: "Checkpoint", folder: Path, pictures: dict[str, PurePosixPath]
    ) -> dict[str, Evaluation]:
        """Every set under its protocol; writes the pictures and a JSON beside them."""
        from engines.training.validate import opened_sets, segmenter_of

        assert self._start is not None
        config, network = self._start.config, checkpoint.network()
        # A finished run that is resumed has nothing left to evaluate, so nobody opened the sets.
        sets = self._sets or opened_sets(config)
        results: dict[str, Evaluation] = {}
        for validation in config.validation:
            label, worst = validation.title, WorstPictures()
            result = evaluate(segmenter_of(network, config, validation), sets[label], watch=worst.add)
            stem = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in label)
            title = f"{config.name} on {label}, step {checkpoint.step}"
            draw_confusion(result.scores.confusion, config.classes, folder / f"{stem}-confusion.png", title)
            worst.write(folder / f"{stem}-worst.png", config.classes, config.palette)
            result.write(folder / f"{stem}-scores.json", step=checkpoint.step, worst=worst.names)
            pictures[f"{label}/confusion"] = PurePosixPath(FOLDER, f"{stem}-confusion.png")
            pictures[f"{label}/worst"] = PurePosixPath(FOLDER, f"{stem}-worst.png")
            results[label] = result
        return results

    def _facts(self, start: StartFacts) -> dict[str, str]:
        import torch

        from engines.training.provenance import revision

        machine = machine_facts()
        return {
            "command": f"`{self.command}`",
            "revision": revision() or "not from a git checkout",
            "network": f"{start.config.model.version} on {start.config.model.backbone}, "
            f"{start.n_parameters / 1e6:.2f} M parameters, {start.n_trained / 1e6:.2f} M of them learn",
            "pictures": f"{start.n_pictures}; {'; '.join(start.config.trained_on) or 'no source is named'}",
            "arithmetic": f"{start.precision} on {start.device}; processes: {start.n_processes}, "
            f"threads of each: {start.config.threads}; seed {start.config.seed}",
            "machine": f"{machine['cpu']}, {machine['usable_cores']} usable cores, {machine['os']}",
            "software": f"torch {torch.__version__}, Python {platform.python_version()}",
        }


def _read(path: Path) -> "Checkpoint":
    from engines.training.checkpoint import Checkpoint

    return Checkpoint.load(path)
