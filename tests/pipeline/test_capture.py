"""The reader: newest frame for the living, every frame for the patient."""

import threading
import time
from dataclasses import dataclass, field
from fractions import Fraction

import pytest

from pipeline.errors import SourceCause, SourceLost
from pipeline.frame import StreamFormat
from pipeline.stages.capture import Reader
from pipeline.timing import Ledger


@dataclass
class Numbered:
    """A grabbed frame that is only its number."""

    pts_ns: int
    after_gap: bool = False

    def copy_into(self, image_bgr) -> None:
        """Nothing to copy."""


@dataclass
class Tape:
    """A source of `n` frames, 10 ms apart; may fail at the end."""

    n: int
    is_live: bool = False
    fails: bool = False
    pace_s: float = 0.0
    position: int = 0
    closed: threading.Event = field(default_factory=threading.Event)

    @property
    def format(self) -> StreamFormat:
        """Small."""
        return StreamFormat(16, 16, Fraction(100), self.is_live, "tape")

    def grab(self):
        """The next number."""
        if self.pace_s:
            self.closed.wait(self.pace_s)
        if self.closed.is_set():
            return None
        if self.position >= self.n:
            if self.fails:
                raise SourceLost("the tape tore", SourceCause.LOST)
            return None
        self.position += 1
        return Numbered((self.position - 1) * 10_000_000)

    def close(self) -> None:
        """Stop."""
        self.closed.set()


@pytest.fixture
def ledger():
    """An empty ledger."""
    ledger = Ledger.create(("capture",))
    yield ledger
    ledger.close()


def _reader(tape, ledger, **options):
    settings = {"live": False, "rate_hz": None, "max_frames": None, "seconds": None, **options}
    reader = Reader(tape, ledger, worker=0, wake=lambda: None, **settings)
    reader.start()
    return reader


def _until(condition, timeout_s=5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def _all(reader):
    taken = []
    _until(lambda: _take(reader, taken) or reader.is_drained)
    while (captured := reader.take()) is not None:
        taken.append(captured)
    return taken


def _take(reader, taken) -> bool:
    captured = reader.take()
    if captured is not None:
        taken.append(captured)
    return False


def test_lossless_waits_and_keeps_all(ledger) -> None:
    """The reader stays a little ahead and loses nothing to a slow taker."""
    reader = _reader(Tape(20), ledger)
    _until(lambda: ledger.captured >= 2)
    time.sleep(0.05)
    assert ledger.captured <= 3

    assert [captured.sequence for captured in _all(reader)] == list(range(20))
    assert ledger.dropped() == {}


def test_live_keeps_the_newest(ledger) -> None:
    """A camera is read without pause; what is not taken in time is superseded and counted."""
    reader = _reader(Tape(50, is_live=True), ledger, live=True)
    _until(lambda: reader.is_over)

    taken = _all(reader)

    assert [captured.sequence for captured in taken] == [49]
    assert ledger.dropped() == {"superseded": 49}


def test_a_file_in_a_live_run_comes_by_its_own_clock(ledger) -> None:
    """Ten frames of 10 ms cannot be there before 90 ms are over."""
    began = time.monotonic()
    reader = _reader(Tape(10), ledger, live=True)
    _until(lambda: reader.is_over)

    assert time.monotonic() - began >= 0.09


def test_a_rate_of_ones_own(ledger) -> None:
    """`rate_hz` replaces the source's time stamps."""
    taken = _all(_reader(Tape(4), ledger, rate_hz=50.0))

    assert [captured.pts_ns for captured in taken] == [0, 20_000_000, 40_000_000, 60_000_000]


def test_a_restarted_reader_goes_on_where_the_dead_one_stopped(ledger) -> None:
    """A file is read again up to the frame that was captured last; numbers go on."""
    for _ in range(5):
        ledger.count_captured()

    taken = _all(_reader(Tape(8), ledger))

    assert [captured.sequence for captured in taken] == [5, 6, 7]
    assert [captured.pts_ns for captured in taken] == [50_000_000, 60_000_000, 70_000_000]


def test_a_lost_source_is_told(ledger) -> None:
    """What was read comes out; the failure stands beside it."""
    reader = _reader(Tape(1, fails=True), ledger)

    assert len(_all(reader)) == 1
    assert isinstance(reader.failure, SourceLost)


def test_stopping_unblocks_and_counts(ledger) -> None:
    """Frames that wait when the run is ended are dropped as stopped; nothing is owed afterwards."""
    reader = _reader(Tape(10), ledger)
    _until(lambda: ledger.captured >= 2)
    time.sleep(0.02)

    reader.stop()

    assert reader.take() is None
    assert reader.is_drained
    assert ledger.captured == sum(ledger.dropped().values())
