"""Facts as a trainer tells them, made up; the watchers under test cannot know the difference."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import numpy as np
import torch

from engines.data.datasets import Pair
from engines.data.loader import Batch
from engines.evaluation.evaluate import Evaluation
from engines.metrics import Tally
from engines.training.config import TrainConfig
from engines.training.watch import EvaluationFacts, Outcome, StartFacts, StepFacts, Watcher
from tests.engines.toy import CLASSES, PALETTE, picture
from tests.pipeline.sinks.limit import files_of_at_most

N_STEPS = 40
EVALUATE_EVERY = 20
TINY = {"width": 0.25, "aspp_channels": 8, "low_channels": 4, "atrous_rates": [2, 4, 6]}


class Threshold(torch.nn.Module):
    """A network of no weights that sees red squares, or, `is_blind`, nothing."""

    def __init__(self, is_blind: bool = False) -> None:
        super().__init__()
        self.is_blind = is_blind

    def normalise(self, images_bgr: torch.Tensor) -> torch.Tensor:
        """uint8 BGR NHWC -> RGB NCHW in -1..1."""
        return images_bgr.flip(-1).permute(0, 3, 1, 2).float() / 127.5 - 1

    def forward(self, image_rgb: torch.Tensor) -> torch.Tensor:
        """Logits at stride 4."""
        red = image_rgb[:, :1, 2::4, 2::4] - image_rgb[:, 1:2, 2::4, 2::4] - 0.5
        return torch.cat([torch.zeros_like(red), red * 0 - 1 if self.is_blind else red], dim=1)


def config(**more: object) -> TrainConfig:
    """A training of red squares."""
    tree = {"name": "squares", "classes": CLASSES, "palette": PALETTE, "subject": CLASSES[1]}
    schedule = {"steps": N_STEPS, "batch": 4}
    data = {"sources": [{"format": "shapes"}], "validation": {"format": "shapes", "name": "squares"}}
    return TrainConfig.model_validate({**tree, **data, "schedule": schedule, **more})


def pairs(n: int = 6) -> list[Pair]:
    """Pictures of a validation set."""
    return [Pair(f"toy_{index:02d}", *picture(index)) for index in range(n)]


def evaluation(network: torch.nn.Module, shown: Sequence[Pair]) -> Evaluation:
    """What `evaluate` would say of them."""
    from engines.evaluation.networks import P1Network

    tally, segmenter = Tally(CLASSES), P1Network(network, CLASSES)
    for pair in shown:
        tally.add(segmenter.logits(pair.image_bgr).argmax(axis=2).astype(np.uint8), pair.label_map)
    return Evaluation("P1", tally.scores(), 1.0)


class Both(Watcher):
    """One watcher after another, as a trainer tells several."""

    def __init__(self, *watchers: Watcher) -> None:
        self.watchers = watchers

    def started(self, facts: StartFacts) -> None:
        for watcher in self.watchers:
            watcher.started(facts)

    def stepped(self, facts: StepFacts) -> None:
        for watcher in self.watchers:
            watcher.stepped(facts)

    def evaluated(self, facts: EvaluationFacts) -> None:
        for watcher in self.watchers:
            watcher.evaluated(facts)

    def ended(self, outcome: Outcome) -> None:
        for watcher in self.watchers:
            watcher.ended(outcome)


class FullDisk(Watcher):
    """The disk is full after step `first`, until step `last`."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last
        self._full = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._full.close()

    def stepped(self, facts: StepFacts) -> None:
        if facts.step == self.first:
            self._full.enter_context(files_of_at_most(100))
        if facts.step == self.last:
            self._full.close()


def play(
    watcher: Watcher, out: Path, first_step: int = 0, last_step: int = N_STEPS, best_path: Path | None = None
) -> Outcome:
    """Tell a watcher a whole training, or a part of it; the loss of step n is 1 / n."""
    watcher.started(StartFacts(config(model=TINY), out, 6, first_step, N_STEPS, 100, 100, "cpu", "fp32"))
    crops = [picture(index) for index in range(4)]
    batch = Batch(
        torch.from_numpy(np.stack([image for image, _ in crops])),
        torch.from_numpy(np.stack([labels for _, labels in crops])),
        torch.zeros(4, dtype=torch.bool),
        torch.ones(4, *crops[0][1].shape, dtype=torch.uint8),
    )
    shown, best = pairs(), 0.0
    for step in range(first_step + 1, last_step + 1):
        loss = 1 / step
        terms = {"cross_entropy": loss / 4, "dice": loss * 3 / 4}
        rates = {"backbone": 1e-3 / step, "head": 1e-2 / step}
        watcher.stepped(StepFacts(step, N_STEPS, loss, terms, rates, 50.0, 0.01, float(N_STEPS - step), batch))
        if step % EVALUATE_EVERY == 0:
            network = Threshold(is_blind=step < N_STEPS)
            scored = evaluation(network, shown)
            is_best, best = scored.scores.miou >= best, max(best, scored.scores.miou)
            watcher.evaluated(
                EvaluationFacts(step, {"squares": scored}, scored.scores.miou, is_best, network, {"squares": shown})
            )
    outcome = Outcome(last_step, last_step == N_STEPS, best, (), best_path)
    watcher.ended(outcome)
    return outcome
