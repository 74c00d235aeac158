"""A live source that comes back: reopens what was lost, with exponential back-off and jitter.

The first opening is not retried: a wrong address must fail at once, not after a minute of trying. Time goes
on over a gap by the wall clock, and the first frame after it says so.
"""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.errors import SourceCause, SourceError, SourceLost, SourceUnavailable
from pipeline.sources.source import Grabbed, Image, OnEvent, Source, ignore_event

__all__ = ["Reconnecting"]

FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 8.0
JITTER = 0.25
"""Waits are up to this share shorter or longer, so that many readers of one camera do not come in step."""


@dataclass(frozen=True, slots=True)
class _Continued:
    """A frame on the clock that goes on over gaps."""

    frame: Grabbed
    pts_ns: int
    after_gap: bool

    def copy_into(self, image_bgr: Image) -> None:
        self.frame.copy_into(image_bgr)


class Reconnecting:
    """Wraps the opening of a live source.

    Args:
        reopen: opens the source; it is given an event that is set when nobody waits for it any more.
        reconnect_for_s: how long to try after a loss; None is for ever, 0 not at all.

    Raises:
        SourceUnavailable: the first opening failed.
    """

    def __init__(
        self,
        reopen: Callable[[threading.Event], Source],
        *,
        reconnect_for_s: float | None,
        first_wait_s: float = FIRST_WAIT_S,
        longest_wait_s: float = LONGEST_WAIT_S,
    ) -> None:
        self.on_event: OnEvent = ignore_event
        self.n_reconnects = 0
        self._reopen = reopen
        self._reconnect_for_s = reconnect_for_s
        self._first_wait_s = first_wait_s
        self._longest_wait_s = longest_wait_s
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._random = random.Random()
        self._offset_ns = 0
        self._last_pts_ns = -1
        self._last_read_ns = time.monotonic_ns()
        self._is_after_gap = False
        self._source = reopen(self._closing)
        self._listen()
        self.format = self._source.format

    def grab(self) -> Grabbed | None:
        """The next frame; over a loss it waits until the source is back, gave up, or is closed."""
        while not self._closing.is_set():
            try:
                frame = self._source.grab()
            except SourceLost as loss:
                if self._closing.is_set():
                    return None
                if self._reconnect_for_s == 0:
                    raise
                self._come_back(loss)
                continue
            return None if frame is None else self._continued(frame)
        return None

    def close(self) -> None:
        """Stop waiting at once and let go."""
        self._closing.set()
        with self._lock:
            self._source.close()

    def _continued(self, frame: Grabbed) -> Grabbed:
        now_ns = time.monotonic_ns()
        is_after_gap, self._is_after_gap = self._is_after_gap, False
        if self._last_pts_ns < 0:
            # A live source runs on between its opening and the first grab; the stream begins with what is seen.
            self._offset_ns = -frame.pts_ns
        elif is_after_gap:
            since_ns = max(1, now_ns - self._last_read_ns)
            self._offset_ns = self._last_pts_ns + since_ns - frame.pts_ns
        self._last_read_ns = now_ns
        self._last_pts_ns = frame.pts_ns + self._offset_ns
        return _Continued(frame, self._last_pts_ns, is_after_gap or frame.after_gap)

    def _come_back(self, loss: SourceError) -> None:
        """Reopen with growing waits; returns when the source is back or `close` was called.

        Raises:
            SourceLost: it did not come back within `reconnect_for_s`.
        """
        started_s = time.monotonic()
        self.on_event("source lost", str(loss))
        with self._lock:
            self._source.close()
        wait_s = self._first_wait_s
        n_tries = 0
        while not self._closing.wait(wait_s * self._random.uniform(1 - JITTER, 1 + JITTER)):
            n_tries += 1
            try:
                source = self._reopen(self._closing)
            except SourceUnavailable as refusal:
                gone_s = time.monotonic() - started_s
                if self._closing.is_set():
                    return
                if self._reconnect_for_s is not None and gone_s >= self._reconnect_for_s:
                    raise SourceLost(
                        f"{self.format.source}: lost, and not back after {gone_s:.0f} s and {n_tries} tries; "
                        f"the last one: {refusal}",
                        SourceCause.LOST,
                    ) from refusal
                wait_s = min(self._longest_wait_s, 2 * wait_s)
                if self._reconnect_for_s is not None:
                    wait_s = min(wait_s, max(0.05, self._reconnect_for_s - gone_s))
                continue
            with self._lock:
                self._source = source
                if self._closing.is_set():
                    source.close()
            self._listen()
            self.n_reconnects += 1
            self._is_after_gap = True
            self.on_event("source back", f"after {time.monotonic() - started_s:.1f} s, {n_tries} tries")
            return

    def _listen(self) -> None:
        self._source.on_event = lambda what, why: self.on_event(what, why)
