"""SIGINT and SIGTERM, as a count that the supervisor's loop looks at."""

import signal
from types import FrameType, TracebackType
from typing import Any, Self

from pipeline.link import Bell

__all__ = ["Interrupts"]

_CAUGHT = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Counts signals while entered, and rings the bell at each; from the main thread only."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._before: dict[signal.Signals, Any] = {}
        self.n_new = 0
        """Signals since `take`."""
        self.was_any = False

    def take(self) -> int:
        """How many came since the last call."""
        n_new, self.n_new = self.n_new, 0
        return n_new

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._catch) for number in _CAUGHT}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            # Once told to end, this process ends: further signals have nothing to add.
            signal.signal(number, signal.SIG_IGN if self.was_any else handler)

    def _catch(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.n_new += 1
        self.was_any = True
        self._bell.ring()
