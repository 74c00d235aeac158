"""Each sink at its own pace; the slot goes home when all have let go."""

import threading
import time

import pytest

from pipeline.errors import SinkError
from pipeline.fanout import Fanout
from pipeline.sinks import Shown
from pipeline.sinks.sink import PlainSink


class Keeper(PlainSink):
    """Remembers the sequences; waits for a gate."""

    def __init__(self, fails_at: int | None = None, inline: bool = False) -> None:
        self.inline = inline
        self.seen: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.fails_at = fails_at
        self.n_closed = 0

    def accept(self, shown) -> None:
        """Keep the number."""
        self.gate.wait(5)
        if shown.sequence == self.fails_at:
            raise SinkError("full")
        self.seen.append(shown.sequence)

    def close(self) -> None:
        """Count."""
        self.n_closed += 1


def _shown(sequence: int) -> Shown:
    return Shown(None, None, sequence, 0, 0, 0)  # type: ignore[arg-type]  # no pixels are needed here


def _until(condition) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture
def told():
    """What the fanout said of failed sinks."""
    return []


def _fanout(sinks, told, *, live):
    return Fanout(sinks, live=live, wake=lambda: None, tell=lambda name, why: told.append((name, why)))


def test_lossless_gives_every_frame_in_order(told) -> None:
    """A sink that lags gets all of them."""
    keeper = Keeper()
    keeper.gate.clear()
    fanout = _fanout({"a": keeper}, told, live=False)

    flights = [fanout.give(_shown(n)) for n in range(5)]
    assert all(flight.holders == 1 for flight in flights)
    keeper.gate.set()
    _until(lambda: all(flight.holders == 0 for flight in flights))

    assert keeper.seen == [0, 1, 2, 3, 4]
    assert fanout.close(5, lambda: None)
    assert keeper.n_closed == 1


def test_live_keeps_the_newest_for_a_sink_that_lags(told) -> None:
    """While it is busy with one, only the latest waits; the skipped are let go at once, and a quick sink has all."""
    slow, quick = Keeper(), Keeper(inline=True)
    slow.gate.clear()
    fanout = _fanout({"slow": slow, "quick": quick}, told, live=True)

    first = fanout.give(_shown(0))
    _until(lambda: not fanout._lanes[0].waiting)
    skipped, newest = [fanout.give(_shown(n)) for n in (1, 2)]
    assert (first.holders, skipped.holders, newest.holders) == (1, 0, 1)
    slow.gate.set()
    _until(lambda: newest.holders == 0)

    assert slow.seen == [0, 2]
    assert quick.seen == [0, 1, 2]
    assert skipped.accepted_ns
    fanout.close(5, lambda: None)


def test_a_failed_sink_is_named_and_the_others_go_on(told) -> None:
    """It is closed once, told of once, and holds no frame."""
    bad, good = Keeper(fails_at=1), Keeper()
    fanout = _fanout({"bad": bad, "good": good}, told, live=False)

    flights = [fanout.give(_shown(n)) for n in range(4)]
    _until(lambda: all(flight.holders == 0 for flight in flights))

    assert not fanout.failures()
    assert not fanout.failures()
    assert told == [("bad", "full")]
    assert (bad.seen, good.seen) == ([0], [0, 1, 2, 3])
    assert not fanout.close(5, lambda: None)
    assert (bad.n_closed, good.n_closed) == (1, 1)


def test_without_a_sink_left_a_frame_was_not_shown(told) -> None:
    """`accepted_ns` stays 0, so that render counts a drop."""
    fanout = _fanout({"bad": Keeper(fails_at=0, inline=True)}, told, live=False)

    assert fanout.give(_shown(0)).accepted_ns == 0
    assert fanout.failures()
    assert fanout.reasons == ["full"]
    fanout.close(5, lambda: None)


def test_a_sink_that_cannot_finish_is_told(told) -> None:
    """A file whose end cannot be written has failed, though every frame was accepted."""
    keeper = Keeper()
    keeper.close = lambda: (_ for _ in ()).throw(SinkError("no space left"))  # type: ignore[method-assign]
    fanout = _fanout({"a": keeper}, told, live=False)
    fanout.give(_shown(0))

    assert not fanout.close(5, lambda: None)
    fanout.failures()
    assert told == [("a", "no space left")]


def test_the_worker_beats_while_a_sink_finishes(told) -> None:
    """An encoder with seconds of work left must not look like a worker that hangs."""
    keeper = Keeper()
    keeper.gate.clear()
    fanout = _fanout({"a": keeper}, told, live=False)
    fanout.give(_shown(0))
    beats = []

    def beat() -> None:
        beats.append(1)
        if len(beats) == 3:
            keeper.gate.set()

    assert fanout.close(5, beat)
    assert len(beats) >= 3
