"""Writes the history while a training runs; without it a report knows only its own process's part."""

from dataclasses import replace

from engines.training.seen.history import FILE_NAME, History, Scored, Trained
from engines.training.watch import EvaluationFacts, Outcome, StartFacts, StepFacts, Watcher

__all__ = ["Recorder"]


class Recorder(Watcher):
    """Lines in `OUT/history.jsonl`: one every few steps, one an evaluation.

    Args:
        every: steps a line is the mean of.
    """

    def __init__(self, every: int = 10) -> None:
        self.every = every
        self._history: History | None = None
        self._recent: list[Trained] = []

    def started(self, facts: StartFacts) -> None:
        """Forget what was never saved."""
        self._history = History(facts.out / FILE_NAME)
        self._history.cut(facts.first_step)

    def stepped(self, facts: StepFacts) -> None:
        """Remember; write when there are enough."""
        rates = dict(facts.learning_rates)
        self._recent.append(Trained(facts.step, facts.loss, dict(facts.terms), rates, facts.images_per_s))
        if facts.step % self.every == 0 or facts.step == facts.n_steps:
            self._write()

    def evaluated(self, facts: EvaluationFacts) -> None:
        """One line with the IoU of each class of each set."""
        assert self._history is not None, "started comes first"
        iou = {f"{name}/{label}": value for name, r in facts.scores.items() for label, value in r.scores.iou.items()}
        self._history.add(Scored(facts.step, facts.miou, iou))

    def ended(self, outcome: Outcome) -> None:
        """The steps since the last line: the training was stopped between two."""
        self._write()

    def _write(self) -> None:
        if not self._recent or self._history is None:
            return
        last, n = self._recent[-1], len(self._recent)
        loss = sum(row.loss for row in self._recent) / n
        terms = {name: sum(row.terms.get(name, 0.0) for row in self._recent) / n for name in last.terms}
        self._history.add(replace(last, loss=loss, terms=terms))
        self._recent.clear()
