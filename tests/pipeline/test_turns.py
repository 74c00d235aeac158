"""Whose turn it is at a worker's door: order within a stream, fairness between streams, what shares a batch."""

import math

import pytest

from pipeline.frame import Ticket, TicketFlag
from pipeline.turns import Turns


def frame(stream: int, sequence: int, epoch: int = 0) -> Ticket:
    """A ticket of a stream's frame."""
    return Ticket(slot=sequence % 6, generation=1, sequence=sequence, pts_ns=0, stream=stream, epoch=epoch)


def end(stream: int) -> Ticket:
    """The end of a stream."""
    return Ticket(0, 0, 0, 0, stream, flags=TicketFlag.END)


def told(tickets: list[Ticket]) -> list[tuple[int, int]]:
    """(stream, sequence) of each."""
    return [(ticket.stream, ticket.sequence) for ticket in tickets]


def filled(turns: Turns, tickets: list[Ticket]) -> Turns:
    """All of them arrived at time 0."""
    for ticket in tickets:
        turns.add(ticket, 0.0)
    return turns


def test_a_stream_keeps_its_order() -> None:
    """Lossless, every frame of one stream comes in the order of its arrival."""
    turns = filled(Turns([0], live=False), [frame(0, n) for n in range(5)])

    assert [told(turns.take(4)) for _ in range(6)] == [[(0, n)] for n in range(5)] + [[]]


def test_a_batch_has_one_frame_of_each_stream_and_no_more_than_asked() -> None:
    """Those served longest ago come first, and the rest has the next turn."""
    turns = filled(Turns(range(5), live=False), [frame(stream, n) for n in range(2) for stream in range(5)])

    taken = [told(turns.take(3)) for _ in range(5)]

    assert taken == [
        [(0, 0), (1, 0), (2, 0)],
        [(3, 0), (4, 0), (0, 1)],
        [(1, 1), (2, 1), (3, 1)],
        [(4, 1)],
        [],
    ]


@pytest.mark.parametrize("at_most", [1, 3])
def test_no_stream_starves_when_all_are_too_fast(at_most: int) -> None:
    """Eight cameras renew their frames before three were served: each is served as often as any other.

    In a single queue, as it was before, the first three were served for ever: the others' frames were replaced, and
    what replaced them stood behind the new frames of the first.
    """
    turns = Turns(range(8), live=True)
    served = [0] * 8

    for n in range(160):
        for stream in range(8):
            turns.add(frame(stream, n), float(n))
        for _ in range(3 // at_most):
            for ticket in turns.take(at_most):
                served[ticket.stream] += 1
                assert ticket.sequence == n, "live, what is served is the newest"

    assert served == [60] * 8


def served(at_most: int, call_s: float, seconds: float = 4.0) -> tuple[float, float]:
    """Eight cameras at 30 fps, out of phase, on a clock of its own: frames served a second, and frames a call."""
    arrivals = sorted((k / 30 + stream / 240, stream, k) for stream in range(8) for k in range(int(30 * seconds)))
    turns, now_s, n_frames, n_calls = Turns(range(8), live=True), 0.0, 0, 0
    while arrivals or turns:
        while arrivals and arrivals[0][0] <= now_s:
            arrived_s, stream, k = arrivals.pop(0)
            turns.add(frame(stream, k), arrived_s)
        batch = turns.take(at_most)
        n_frames, n_calls = n_frames + len(batch), n_calls + bool(batch)
        now_s = now_s + call_s if batch else arrivals[0][0]
    return n_frames / seconds, n_frames / n_calls


def test_batches_form_by_themselves_where_the_engine_is_too_slow_for_single_frames() -> None:
    """12 ms a call are 83 frames a second one by one; together all 240 are served without anybody waiting.

    An engine that is fast enough serves each frame as it comes.
    """
    alone, together, fast = served(1, 0.012), served(8, 0.012), served(8, 0.003)

    assert alone == (pytest.approx(83.3, abs=2), 1.0)
    assert together == (240.0, pytest.approx(240 * 0.012, abs=0.2))
    assert fast == (240.0, 1.0)


def test_live_a_newer_frame_replaces_its_own_stream_alone() -> None:
    """The one that is replaced is handed back, to be counted and sent home."""
    turns = Turns(range(2), live=True)

    replaced = [turns.add(ticket, 0.0) for ticket in (frame(0, 0), frame(1, 0), frame(0, 1), end(0))]

    assert replaced == [None, None, frame(0, 0), None]
    assert sorted(told(list(turns))) == [(0, 0), (0, 1), (1, 0)]  # the first is the end
    assert told(turns.take(8)) == [(0, 1), (1, 0)]


def test_frames_of_two_epochs_never_share_a_batch() -> None:
    """The epoch says which engine and size: the others wait, and come next."""
    turns = filled(Turns(range(4), live=False), [frame(0, 7, 1), frame(1, 7, 2), frame(2, 7, 1), frame(3, 7, 2)])

    assert told(turns.take(4)) == [(0, 7), (2, 7)]
    assert told(turns.take(4)) == [(1, 7), (3, 7)]


def test_the_end_of_a_stream_comes_alone_and_after_its_frames() -> None:
    """A batch is of frames; an end is no reason to wait."""
    turns = filled(Turns(range(2), live=False), [frame(0, 0), end(0), frame(1, 0)])

    assert told(turns.take(2)) == [(0, 0), (1, 0)]
    assert turns.patience_s(2, 1.0, 0.0) == 0.0
    assert turns.take(2) == [end(0)]
    assert not turns


def test_a_batch_is_waited_for_from_its_first_frame_on() -> None:
    """The first frame's time counts, whatever comes later; a full batch goes at once."""
    turns = Turns(range(3), live=True)
    assert turns.patience_s(3, 0.01, 5.0) == math.inf

    turns.add(frame(0, 0), 5.0)
    turns.add(frame(1, 0), 5.004)
    turns.add(frame(0, 1), 5.006)  # newer, but the stream has been waiting since 5.0

    assert turns.patience_s(3, 0.01, 5.006) == pytest.approx(0.004)
    assert turns.patience_s(3, 0.01, 5.02) == 0.0
    assert turns.patience_s(2, 0.01, 5.006) == 0.0
    assert turns.patience_s(3, 0.0, 5.006) == 0.0


def test_nobody_waits_for_what_cannot_come() -> None:
    """A stream that is over sends nothing more, and frames of another epoch are there already."""
    ended = filled(Turns(range(2), live=False), [end(0)])
    ended.take(2)
    ended.add(frame(1, 0), 0.0)
    mixed = filled(Turns(range(3), live=False), [frame(0, 0, 1), frame(1, 0, 2)])

    assert ended.patience_s(2, 1.0, 0.0) == 0.0
    assert mixed.patience_s(3, 1.0, 0.0) == 0.0


def test_a_stream_that_goes_on_after_its_end_is_waited_for_again() -> None:
    """After a worker's restart an end may be said again, also when frames still follow it."""
    turns = filled(Turns(range(2), live=False), [end(0), frame(0, 5)])
    turns.take(1)
    turns.take(1)
    turns.add(frame(1, 0), 0.0)

    assert turns.patience_s(2, 1.0, 0.0) == 1.0
