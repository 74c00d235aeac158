"""Coming back: what is lost is reopened, time goes on, and nobody who wants to stop is kept waiting."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import pytest

from pipeline.errors import SourceCause, SourceLost, SourceUnavailable
from pipeline.frame import StreamFormat
from pipeline.sources.reconnect import Reconnecting
from pipeline.sources.source import Image, OnEvent, ignore_event


@dataclass(frozen=True)
class _FakeFrame:
    pts_ns: int
    after_gap: bool = False

    def copy_into(self, image_bgr: Image) -> None:
        image_bgr[...] = 1


class _FakeSource:
    """Gives so many frames, a millisecond of stream time apart, then is lost, or ends."""

    def __init__(self, n_frames: int, *, is_ending: bool = False, first_ns: int = 0) -> None:
        self.format = StreamFormat(64, 48, Fraction(30), is_live=True, source="fake")
        self.on_event: OnEvent = ignore_event
        self.is_closed = False
        self._left = n_frames
        self._is_ending = is_ending
        self._next_ns = first_ns

    def grab(self) -> _FakeFrame | None:
        if self._left == 0:
            if self._is_ending:
                return None
            raise SourceLost("fake: gone", SourceCause.LOST)
        self._left -= 1
        self._next_ns += 1_000_000
        return _FakeFrame(self._next_ns - 1_000_000)

    def close(self) -> None:
        self.is_closed = True


def _refused() -> _FakeSource:
    raise SourceUnavailable("fake: refused", SourceCause.REFUSED)


def _opened(*openings: Callable[[], _FakeSource], reconnect_for_s: float | None = None) -> Reconnecting:
    """A reconnecting source that goes through the openings, then through the last one for ever."""
    left = list(openings)

    def reopen(closing: threading.Event) -> _FakeSource:
        return (left.pop(0) if len(left) > 1 else left[0])()

    return Reconnecting(reopen, reconnect_for_s=reconnect_for_s, first_wait_s=0.001, longest_wait_s=0.01)


def test_the_first_opening_is_not_retried() -> None:
    """A wrong address fails at once."""
    with pytest.raises(SourceUnavailable, match="refused"):
        _opened(_refused, lambda: _FakeSource(1))


def test_a_lost_source_is_opened_again() -> None:
    """After the loss frames come from the next opening; the lost one is closed, and both events are told."""
    first = _FakeSource(2)
    source = _opened(lambda: first, _refused, _refused, lambda: _FakeSource(2, is_ending=True))
    events: list[str] = []
    source.on_event = lambda what, why: events.append(f"{what}: {why}")

    frames = [frame for _ in range(4) if (frame := source.grab()) is not None]

    assert len(frames) == 4
    assert source.grab() is None
    assert first.is_closed
    assert source.n_reconnects == 1
    assert [event.split(":")[0] for event in events] == ["source lost", "source back"]
    assert "3 tries" in events[1]


def test_only_the_first_frame_after_a_gap_says_so() -> None:
    """What is remembered of earlier frames is forgotten once."""
    source = _opened(lambda: _FakeSource(2), lambda: _FakeSource(2, is_ending=True))

    gaps = [frame.after_gap for _ in range(4) if (frame := source.grab()) is not None]

    assert gaps == [False, False, True, False]


def test_time_goes_on_over_a_gap() -> None:
    """The stream begins at 0 whatever the source's clock says; after a gap time stands where the wall clock does."""
    source = _opened(
        lambda: _FakeSource(3, first_ns=77_000_000),
        _refused,
        _refused,
        lambda: _FakeSource(2, is_ending=True, first_ns=5_000_000_000),
    )

    started_ns = time.monotonic_ns()
    pts_ns = [frame.pts_ns for _ in range(5) if (frame := source.grab()) is not None]
    elapsed_ns = time.monotonic_ns() - started_ns

    assert pts_ns[:3] == [0, 1_000_000, 2_000_000]
    assert pts_ns[2] < pts_ns[3] <= pts_ns[2] + elapsed_ns
    assert pts_ns[4] - pts_ns[3] == 1_000_000


def test_it_gives_up_after_its_time() -> None:
    """Beyond `reconnect_for_s` the loss is final, with the last reason in its message."""
    source = _opened(lambda: _FakeSource(1), _refused, reconnect_for_s=0.05)
    source.grab()

    with pytest.raises(SourceLost, match="refused"):
        source.grab()


def test_it_does_not_try_when_told_not_to() -> None:
    """Zero seconds: the loss is passed on as it is."""
    source = _opened(lambda: _FakeSource(0), lambda: _FakeSource(1), reconnect_for_s=0)

    with pytest.raises(SourceLost, match="gone"):
        source.grab()
    assert source.n_reconnects == 0


def test_the_regular_end_is_an_end() -> None:
    """A source that says None is not reopened."""
    source = _opened(lambda: _FakeSource(1, is_ending=True))
    source.grab()

    assert source.grab() is None
    assert source.n_reconnects == 0


def test_closing_ends_the_waiting_at_once() -> None:
    """A `grab` that waits for the next try returns None as soon as somebody closes, not after the wait."""
    tries = threading.Event()
    left = [lambda: _FakeSource(0)]

    def reopen(closing: threading.Event) -> _FakeSource:
        if left:
            return left.pop()()
        tries.set()
        return _refused()

    source = Reconnecting(reopen, reconnect_for_s=None, first_wait_s=0.001, longest_wait_s=3600)
    source._longest_wait_s = source._first_wait_s = 3600
    grabbed: list[object] = []
    reader = threading.Thread(target=lambda: grabbed.append(source.grab()))
    reader.start()

    source.close()
    reader.join(10)

    assert grabbed == [None]
    assert not tries.is_set()


def test_a_source_that_comes_while_closing_is_closed() -> None:
    """Nothing stays open when the reopening and the closing happen at once."""
    late = _FakeSource(5)
    openings: list[Callable[[], _FakeSource]] = []

    def reopen_late() -> _FakeSource:
        source.close()
        return late

    openings += [lambda: _FakeSource(0), reopen_late]
    source = Reconnecting(lambda _closing: openings.pop(0)(), reconnect_for_s=None, first_wait_s=0.001)

    assert source.grab() is None
    assert late.is_closed


def test_waits_grow_and_are_not_in_step() -> None:
    """Each wait is about twice the one before, with chance in it, up to the longest."""
    waits: list[float] = []

    class _Clockless(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0)
            return self.is_set()

        def is_set(self) -> bool:
            return len(waits) >= 8

    source = Reconnecting(
        lambda _closing: _refused() if waits else _FakeSource(0), reconnect_for_s=None, first_wait_s=0.25
    )
    source._closing = _Clockless()
    source.grab()

    for wait_s, nominal_s in zip(waits, (0.25, 0.5, 1, 2, 4, 8, 8, 8), strict=False):
        assert 0.75 * nominal_s <= wait_s <= 1.25 * nominal_s
    assert len({wait_s / nominal_s for wait_s, nominal_s in zip(waits[5:], (8, 8, 8), strict=False)}) > 1
