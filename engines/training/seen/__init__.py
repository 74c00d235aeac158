"""Watchers of a training: what a person sees while it runs and afterwards.

Each is a `Watcher` (engines.training.watch): the trainer tells it facts and never waits for an answer. They
only look: a training with and without them gives the same weights.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from engines.training.seen.progress import Bar
from engines.training.seen.recorder import Recorder
from engines.training.seen.report import Report
from engines.training.seen.tensorboard import TensorBoard
from engines.training.watch import Lines, Watcher

__all__ = ["watching"]


@contextmanager
def watching(command: str, say: Callable[[str], None], is_terminal: bool) -> Iterator[list[Watcher]]:
    """All of them, in their order; terminal and event files are left in order whatever happens inside.

    Args:
        command: as it was typed, for the report.
        say: takes a line, where there is no terminal to draw a bar in.
    """
    with ExitStack() as stack:
        lead: Watcher = stack.enter_context(Bar()) if is_terminal else Lines(say)
        yield [lead, Recorder(lead.warned), stack.enter_context(TensorBoard(lead.warned)), Report(command)]
