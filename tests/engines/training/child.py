"""Trainings in a process of their own, one after another, for tests that kill it or start two of it.

python -m tests.engines.training.child FOLDER OUT [resume] [SIGNAL@STEP] [key=value ...] [then OUT ...]
"""

import json
import os
import signal
import sys
from pathlib import Path

from engines.training.distributed import joined
from engines.training.train import run
from engines.training.watch import Outcome, StepFacts, Watcher
from tests.engines.training.small import small_config


class Ending(Watcher):
    """Sends itself a signal after a step, and writes the losses down at the end."""

    def __init__(self, out: Path, ends: dict[int, signal.Signals]) -> None:
        self.out = out
        self.ends = ends
        self.losses: list[float] = []

    def stepped(self, facts: StepFacts) -> None:
        """Die, or be asked to stop, in mid-run."""
        self.losses.append(facts.loss)
        if facts.step in self.ends:
            os.kill(os.getpid(), self.ends[facts.step])

    def ended(self, outcome: Outcome) -> None:
        """For the test to read."""
        (self.out / "losses.json").write_text(json.dumps(self.losses))


def main() -> None:
    """See the module."""
    folder, *words = sys.argv[1:]
    with joined(is_on_gpu=False):  # once for all of them
        while words:
            end = words.index("then") if "then" in words else len(words)
            _train(Path(folder), *words[:end])
            words = words[end + 1 :]


def _train(folder: Path, out: str, *words: str) -> None:
    ends = {int(step): signal.Signals[name] for name, _, step in (word.partition("@") for word in words) if step}
    overrides = [word for word in words if "=" in word]
    watcher = Ending(Path(out), ends)
    run(small_config(folder, *overrides), Path(out), resume="resume" in words, watchers=[watcher])


if __name__ == "__main__":
    main()
