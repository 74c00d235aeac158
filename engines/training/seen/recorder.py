"""Writes the history while a training runs; without it a report knows only its own process's part."""

from collections.abc import Callable
from dataclasses import replace

from engines.training.seen.history import FILE_NAME, History, Scored, Trained
from engines.training.watch import EvaluationFacts, Outcome, StartFacts, StepFacts, Watcher

__all__ = ["Recorder"]


class Recorder(Watcher):
    """Lines in `OUT/history.jsonl`: one every few steps, one an evaluation.

    Args:
        say: takes a line when the file cannot be written; its lines then wait for the next time.
        every: steps a line is the mean of.
    """

    def __init__(self, say: Callable[[str], None] = lambda _line: None, every: int = 10) -> None:
        self.say = say
        self.every = every
        self._history: History | None = None
        self._is_told = False
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
        self._add(Scored(facts.step, facts.miou, iou))

    def ended(self, outcome: Outcome) -> None:
        """The steps since the last line: the training was stopped between two."""
        self._write()

    def _write(self) -> None:
        if not self._recent or self._history is None:
            return
        last, n = self._recent[-1], len(self._recent)
        loss = sum(row.loss for row in self._recent) / n
        terms = {name: sum(row.terms.get(name, 0.0) for row in self._recent) / n for name in last.terms}
        self._recent.clear()
        self._add(replace(last, loss=loss, terms=terms))

    def _add(self, row: Trained | Scored) -> None:
        assert self._history is not None, "started comes first"
        try:
            self._history.add(row)
        except OSError as error:
            if not self._is_told:
                reason = error.strerror or str(error)
                self.say(f"{self._history.path}: cannot be written ({reason}); training goes on, its lines wait")
            self._is_told = True
        else:
            self._is_told = False
