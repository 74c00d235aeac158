"""Tickets that wait at a worker's door, stream by stream, and whose turn it is.

The stream that was served longest ago comes first, so none starves however fast the others are; within a stream the
order of arrival is kept. The trap: arrival alone is no turn. Live, a newer frame replaces the one that waits, and in a
single queue the streams behind would be pushed back again and again, for ever.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.frame import Ticket, TicketFlag

__all__ = ["Turns"]


class _Waiting(NamedTuple):
    ticket: Ticket
    since_s: float
    """When it came, or when the first came of those that it replaced."""
    is_end: bool


@dataclass
class _Queue:
    """One stream's tickets."""

    waiting: deque[_Waiting] = field(default_factory=deque)
    is_over: bool = False
    """The end of the stream has come by: no frame of it will follow."""


class Turns:
    """Waiting tickets of several streams, taken one by one or as a batch."""

    def __init__(self, streams: Iterable[int], *, live: bool) -> None:
        """`live`: a newer frame of a stream replaces the one that waits."""
        self._queues = {stream: _Queue() for stream in streams}
        self._live = live
        self._order = list(self._queues)
        """Streams, longest unserved first."""
        self._n_waiting = 0

    def __bool__(self) -> bool:
        return self._n_waiting > 0

    def __iter__(self) -> Iterator[Ticket]:
        """Every ticket that waits, in no particular order."""
        for queue in self._queues.values():
            for one in queue.waiting:
                yield one.ticket

    def add(self, ticket: Ticket, now_s: float) -> Ticket | None:
        """Let a ticket wait; returns the frame that it replaces, if any."""
        queue = self._queues[ticket.stream]
        new = _Waiting(ticket, now_s, bool(ticket.flags & TicketFlag.END))
        queue.is_over = new.is_end  # an end may be followed by frames: it is said again when a worker was replaced
        replaced = None
        if self._live and not new.is_end and queue.waiting and not queue.waiting[-1].is_end:
            before = queue.waiting.pop()
            replaced, new = before.ticket, _Waiting(ticket, before.since_s, is_end=False)
        queue.waiting.append(new)
        self._n_waiting += replaced is None
        return replaced

    def take(self, at_most: int) -> list[Ticket]:
        """The tickets to work on now, one a stream; none when nothing waits.

        They are frames of one epoch, and so of one engine and one size. The end of a stream comes alone.
        """
        if not self._n_waiting:
            return []
        taken = self._ready(at_most)
        self._n_waiting -= len(taken)
        for one in taken:
            stream = one.ticket.stream
            self._queues[stream].waiting.popleft()
            self._order.remove(stream)
            self._order.append(stream)
        return [one.ticket for one in taken]

    def patience_s(self, at_most: int, wait_s: float, now_s: float) -> float:
        """How long to wait for more frames before `take`; 0: not at all, infinity: nothing is there yet.

        Nobody waits for a stream that is over, nor while frames are there that cannot share a batch with the first.
        """
        if not self._n_waiting:
            return math.inf
        if at_most == 1:
            return 0.0
        ready = self._ready(at_most)
        queues = self._queues.values()
        n_possible = sum(bool(queue.waiting) or not queue.is_over for queue in queues)
        is_full = ready[0].is_end or len(ready) >= min(at_most, n_possible)
        if is_full or len(ready) < sum(bool(queue.waiting) for queue in queues):
            return 0.0
        return max(0.0, min(one.since_s for one in ready) + wait_s - now_s)

    def _ready(self, at_most: int) -> list[_Waiting]:
        ready: list[_Waiting] = []
        for stream in self._order:
            if len(ready) == at_most:
                break
            waiting = self._queues[stream].waiting
            if not waiting:
                continue
            if not ready:
                ready.append(waiting[0])
                if waiting[0].is_end:
                    break
            elif not waiting[0].is_end and waiting[0].ticket.epoch == ready[0].ticket.epoch:
                ready.append(waiting[0])
        return ready
