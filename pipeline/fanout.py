"""Gives each shown frame to every sink, each in a thread of its own.

The slot stays with render until every sink has let go of it, so nothing is copied. Live, a sink that
is still busy keeps only the newest frame waiting; lossless, it keeps them all, in order. A sink that
fails is closed and named, and the others go on.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import SinkError
from pipeline.sinks import Shown, Sink

__all__ = ["Fanout", "InFlight"]


@dataclass(slots=True)
class InFlight:
    """A frame that sinks have; done when no sink holds it any more."""

    shown: Shown
    holders: int
    accepted_ns: int = 0
    """When the latest sink accepted it; 0 while none has."""


@dataclass
class _Lane:
    name: str
    sink: Sink
    waiting: deque[InFlight] = field(default_factory=deque)
    failure: str = ""
    thread: threading.Thread | None = None
    is_closing: bool = False


class Fanout:
    """The sinks of one stream."""

    def __init__(
        self, sinks: dict[str, Sink], *, live: bool, wake: Callable[[], None], tell: Callable[[str, str], None]
    ) -> None:
        """`tell(name, why)` is called from `failures`, in the caller's thread, once for each sink that failed."""
        self._live = live
        self._wake = wake
        self._tell = tell
        self._lock = threading.Condition()
        self._lanes = [_Lane(name, sink) for name, sink in sinks.items()]
        self._told: set[str] = set()
        for lane in self._lanes:
            if not lane.sink.inline:
                lane.thread = threading.Thread(target=self._serve, args=(lane,), name=f"sink {lane.name}", daemon=True)
                lane.thread.start()

    @property
    def n_threads(self) -> int:
        """Sinks that may lag."""
        return sum(1 for lane in self._lanes if lane.thread is not None)

    @property
    def sinks(self) -> list[Sink]:
        """The sinks that still work."""
        return [lane.sink for lane in self._lanes if not lane.failure]

    @property
    def reasons(self) -> list[str]:
        """Why sinks failed, one line each."""
        return [lane.failure for lane in self._lanes if lane.failure]

    def give(self, shown: Shown) -> InFlight:
        """Hand one frame to every working sink; returns at once."""
        working = [lane for lane in self._lanes if not lane.failure]
        flight = InFlight(shown, sum(1 for lane in working if lane.thread is not None))
        for lane in working:
            if lane.thread is None:
                self._accept(lane, flight)
                continue
            with self._lock:
                if self._live and lane.waiting:
                    for skipped in lane.waiting:
                        skipped.holders -= 1
                    lane.waiting.clear()
                lane.waiting.append(flight)
                self._lock.notify_all()
        return flight

    def failures(self) -> bool:
        """Report sinks that failed since the last call; True when none is left."""
        for lane in self._lanes:
            if lane.failure and lane.name not in self._told:
                self._told.add(lane.name)
                self._tell(lane.name, lane.failure)
        return all(lane.failure for lane in self._lanes)

    def close(self, timeout_s: float, beat: Callable[[], None]) -> bool:
        """Let every sink finish its frames and its file; False when one failed or did not within the time.

        `beat` is called while waiting: an encoder may have seconds of work left.
        """
        with self._lock:
            for lane in self._lanes:
                lane.is_closing = True
            self._lock.notify_all()
        deadline = time.monotonic() + timeout_s
        for lane in self._lanes:
            if lane.thread is None:
                if not lane.failure:
                    self._guard(lane, lane.sink.close)
            else:
                while lane.thread.is_alive() and time.monotonic() < deadline:
                    lane.thread.join(0.1)
                    beat()
                if lane.thread.is_alive():
                    lane.failure = f"did not finish within {timeout_s:g} s"
        return not any(lane.failure for lane in self._lanes)

    def _serve(self, lane: _Lane) -> None:
        while True:
            with self._lock:
                while not lane.waiting and not lane.is_closing:
                    self._lock.wait()
                if not lane.waiting:
                    break
                flight = lane.waiting.popleft()
            if not lane.failure:
                self._accept(lane, flight)
            with self._lock:
                flight.holders -= 1
            self._wake()
        if not lane.failure:
            self._guard(lane, lane.sink.close)
        self._wake()

    def _accept(self, lane: _Lane, flight: InFlight) -> None:
        def accept() -> None:
            lane.sink.accept(flight.shown)
            flight.accepted_ns = max(flight.accepted_ns, time.monotonic_ns())

        self._guard(lane, accept)

    def _guard(self, lane: _Lane, act: Callable[[], Any]) -> None:
        try:
            act()
        except SinkError as error:
            lane.failure = str(error)
        except Exception as error:  # noqa: BLE001 - one sink's mistake must not take the others along
            lane.failure = f"{type(error).__name__}: {error}"
        else:
            return
        try:
            lane.sink.close()
        except Exception:  # noqa: BLE001 - it has failed and is named already
            pass
