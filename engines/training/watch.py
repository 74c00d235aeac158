"""What a training tells those who watch it: a progress bar, TensorBoard, a report.

A watcher is told after the fact and changes nothing: the weights are the same with any watchers or none. The
trap: `stepped` runs on the trainer's own thread between two steps, so what is slow belongs behind a count of
steps. Only the first process of a distributed training has watchers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from engines.data.datasets import Pair
    from engines.data.loader import Batch
    from engines.evaluation.evaluate import Evaluation
    from engines.models.deeplab import DeepLab
    from engines.training.config import TrainConfig

__all__ = ["EvaluationFacts", "Lines", "Outcome", "StartFacts", "StepFacts", "ValidationSet", "Watcher", "tell"]


class ValidationSet(Protocol):
    """Pictures with labels, in a fixed order; read when asked for."""

    def __len__(self) -> int: ...
    def __iter__(self) -> "Iterator[Pair]": ...


@dataclass(frozen=True)
class StartFacts:
    """Known before the first step."""

    config: "TrainConfig"
    out: Path
    n_pictures: int
    first_step: int
    """Above 0 when the training was resumed; history beyond it was never saved and will come again."""
    n_steps: int
    n_parameters: int
    n_trained: int
    """Parameters that learn; less than `n_parameters` with frozen blocks."""
    device: str
    precision: str
    """`fp32`, `bf16` or `fp16`: what `auto` came to on this machine."""
    n_processes: int = 1


@dataclass(frozen=True)
class StepFacts:
    """One step of the optimiser, just done."""

    step: int
    """Steps done so far: 1 after the first."""
    n_steps: int
    loss: float
    """The weighted sum of the terms, over the whole batch."""
    terms: Mapping[str, float]
    """Each term of the loss without its weight: `cross_entropy`, `dice`, `distil`, ..."""
    learning_rates: Mapping[str, float]
    """`backbone` and `head`, as this step used them."""
    images_per_s: float
    """Over the steps since the last evaluation or save, which are not counted."""
    waited_s: float
    """Of this step, for the crops."""
    eta_s: float
    batch: "Batch"
    """The crops of this step (this process's part of them)."""


@dataclass(frozen=True)
class EvaluationFacts:
    """The averaged weights, just scored."""

    step: int
    scores: "Mapping[str, Evaluation]"
    """By the name of the validation set, in the config's order."""
    miou: float
    """Weighted mean over the sets: what decides which checkpoint is best."""
    is_best: bool
    network: "DeepLab"
    """The averaged weights in evaluation mode; valid until the call returns."""
    sets: "Mapping[str, ValidationSet]" = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a training ended."""

    step: int
    is_finished: bool
    """False when a signal ended it; `resume` goes on."""
    best_miou: float
    losses: tuple[float, ...]
    """Of this run's steps, in order."""
    best_path: Path | None = None
    """`best.pt`, where one was kept."""
    is_first: bool = True
    """Whether this process speaks and writes for all; the others have nothing to say."""


class Watcher:
    """Told what happens; inherit and override what is of interest."""

    def started(self, facts: StartFacts) -> None:
        """Before the first step."""

    def stepped(self, facts: StepFacts) -> None:
        """After each step."""

    def evaluated(self, facts: EvaluationFacts) -> None:
        """After each scoring on the validation sets."""

    def warned(self, message: str) -> None:
        """Something went wrong that does not end the training, or a fact worth a line."""

    def ended(self, outcome: Outcome) -> None:
        """After the last step or the stop; not after an error."""


class Lines(Watcher):
    """A plain line now and then, through any function that takes one."""

    def __init__(self, say: Callable[[str], None], every: int = 10) -> None:
        self.say = say
        self.every = every
        self._recent: list[float] = []

    def started(self, facts: StartFacts) -> None:
        """Size of everything."""
        if facts.first_step:
            self.say(f"train: goes on at step {facts.first_step} of {facts.n_steps}")
        self.say(
            f"train: {facts.n_pictures} pictures, {facts.n_steps} steps of {facts.config.schedule.batch}, "
            f"{facts.n_trained / 1e6:.2f} of {facts.n_parameters / 1e6:.2f} M parameters learn, "
            f"{facts.device}, {facts.precision}"
        )

    def stepped(self, facts: StepFacts) -> None:
        """Mean loss since the last line, its terms, speed, time to go."""
        self._recent.append(facts.loss)
        if facts.step % self.every and facts.step != facts.n_steps:
            return
        terms = ", ".join(f"{name} {value:.4f}" for name, value in facts.terms.items())
        self.say(
            f"train: step {facts.step}/{facts.n_steps}, loss {sum(self._recent) / len(self._recent):.4f} ({terms}), "
            f"{facts.images_per_s:.1f} images/s, {facts.eta_s / 60:.1f} min to go"
        )
        self._recent.clear()

    def evaluated(self, facts: EvaluationFacts) -> None:
        """IoU of each class on each set."""
        for name, result in facts.scores.items():
            told = ", ".join(f"{label} {value:.4f}" for label, value in result.scores.iou.items())
            best = ", the best so far" if facts.is_best else ""
            self.say(f"train: step {facts.step}: {result.protocol} {name} IoU {told}{best}")

    def warned(self, message: str) -> None:
        """As it came."""
        self.say(f"train: {message}")


def tell(watchers: Sequence[Watcher], message: str) -> None:
    """Give every watcher a warning."""
    for watcher in watchers:
        watcher.warned(message)
