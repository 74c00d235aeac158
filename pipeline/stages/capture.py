"""The corridor's door: reads the source in a thread, lets a frame in when a slot is free.

The reader never stops reading a live source: a camera or a network keeps frames for whoever is late,
and only reading them away shows the newest one. A file waits instead, or is released by its own clock
when the run is live.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import StreamError
from pipeline.timing import DropCause, Ledger

if TYPE_CHECKING:
    from pipeline.sources import Grabbed, Source

__all__ = ["Captured", "Reader"]

_LEAD_NS = 1_500_000
"""Decoding a file for a live run begins so much earlier than a quarter more than the last frame took."""
_LOSSLESS_AHEAD = 2
"""Decoded frames that may wait for a slot: enough to decode while the corridor is full."""


@dataclass(slots=True)
class Captured:
    """A frame that was read and numbered, waiting for a slot."""

    grabbed: "Grabbed"
    sequence: int
    pts_ns: int
    captured_ns: int
    after_gap: bool


class Reader:
    """A thread around one source; `take` gives what is to enter next."""

    def __init__(
        self,
        source: "Source",
        ledger: Ledger,
        *,
        worker: int,
        live: bool,
        rate_hz: float | None,
        max_frames: int | None,
        seconds: float | None,
        wake: Callable[[], None],
    ) -> None:
        self._source = source
        self._ledger = ledger
        self._worker = worker
        self._live = live
        self._rate_hz = rate_hz
        self._max_frames = max_frames
        self._seconds = seconds
        self._wake = wake
        self._ready: deque[Captured] = deque()
        self._room = threading.Condition()
        self._stop = threading.Event()
        self.is_over = False
        """True when no further frame will be read; `take` may still have some."""
        self.failure: BaseException | None = None
        self._due_ns = 0
        self._decode_ns = 0
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more; frames that wait are dropped and counted."""
        self._stop.set()
        self._source.close()
        with self._room:
            dropped = len(self._ready)
            self._ready.clear()
            self._room.notify_all()
        if dropped:
            self._ledger.count_dropped(self._worker, DropCause.STOPPED, dropped)
        self.is_over = True

    def take(self) -> Captured | None:
        """The next frame to let in, or None when there is none yet."""
        with self._room:
            if not self._ready:
                return None
            captured = self._ready.popleft()
            self._room.notify_all()
            return captured

    @property
    def is_drained(self) -> bool:
        """True when nothing will come any more."""
        return self.is_over and not self._ready

    def _run(self) -> None:
        try:
            self._read()
        except StreamError as error:
            if not self._stop.is_set():
                self.failure = error
        except Exception as error:  # noqa: BLE001 - a thread has no caller; the worker's loop raises it again
            self.failure = error
        self.is_over = True
        self._wake()

    def _read(self) -> None:
        already = self._ledger.captured
        offset_ns = 0
        if already and not self._source.format.is_live:
            for _ in range(already):  # a restarted worker goes on where the dead one stopped
                if self._stop.is_set() or self._source.grab() is None:
                    return
        while not self._stop.is_set():
            if self._max_frames is not None and self._ledger.captured >= self._max_frames:
                return
            if not self._wait_to_decode():
                return
            begin_ns = time.monotonic_ns()
            grabbed = self._source.grab()
            if grabbed is None:
                return
            now_ns = time.monotonic_ns()
            self._decode_ns = now_ns - begin_ns
            start_ns = self._ledger.mark_opened(now_ns)
            if already and self._source.format.is_live and not offset_ns:
                offset_ns = max(1, now_ns - start_ns - grabbed.pts_ns)
            pts_ns = grabbed.pts_ns + offset_ns
            if self._rate_hz is not None:
                pts_ns = round(self._ledger.captured * 1e9 / self._rate_hz)
            if self._seconds is not None and self._elapsed_ns(now_ns, start_ns, pts_ns) >= self._seconds * 1e9:
                return
            if self._live and not self._source.format.is_live:
                self._due_ns = start_ns + pts_ns
                if not self._wait_until(self._due_ns):
                    return
            self._put(grabbed, pts_ns, getattr(grabbed, "after_gap", False))

    def _wait_to_decode(self) -> bool:
        """Live, decode a file's next frame just before it is due, not while the one before is being segmented."""
        if not self._due_ns:
            return True
        period_ns = 1e9 / (self._rate_hz or float(self._source.format.rate_hz))
        return self._wait_until(round(self._due_ns + period_ns) - round(1.25 * self._decode_ns) - _LEAD_NS)

    def _elapsed_ns(self, now_ns: int, start_ns: int, pts_ns: int) -> int:
        # Ten seconds of a file are ten seconds of its own clock, however fast it is read.
        return now_ns - start_ns if self._source.format.is_live else pts_ns

    def _wait_until(self, due_ns: int) -> bool:
        delay_s = (due_ns - time.monotonic_ns()) * 1e-9
        return not (delay_s > 0 and self._stop.wait(delay_s))

    def _put(self, grabbed: Any, pts_ns: int, after_gap: bool) -> None:
        with self._room:
            if self._live:
                dropped = len(self._ready)
                after_gap = after_gap or any(one.after_gap for one in self._ready)
                self._ready.clear()
                if dropped:
                    self._ledger.count_dropped(self._worker, DropCause.SUPERSEDED, dropped)
            else:
                while len(self._ready) >= _LOSSLESS_AHEAD and not self._stop.is_set():
                    self._room.wait(0.5)
            if self._stop.is_set():
                return
            sequence = self._ledger.count_captured()
            self._ready.append(Captured(grabbed, sequence, pts_ns, time.monotonic_ns(), after_gap))
        self._wake()
