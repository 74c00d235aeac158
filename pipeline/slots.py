"""One stream's frame memory: slots, planes, owners, generations.

Pixels are written once and never copied between processes; only tickets move. A slot may be written
by its owner alone. The pool is made by the supervisor before the first frame and never resized; a
plane has room for the largest engine that may be swapped in, and is viewed with the present one's shape.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StaleTicket
from pipeline.frame import PlaneSpec, Ticket, TicketFlag
from pipeline.memory import Region

__all__ = ["MAX_DIARY_LINES", "NOBODY", "SlotPool", "capacities"]

NOBODY = 0
"""Owner word of a slot that was never handed out."""

_PAGE = 4096
_WORDS = 40
_OWNER, _GENERATION, _SEQUENCE, _CAPTURED_NS, _DIARY = 0, 1, 2, 3, 8
MAX_DIARY_LINES = (_WORDS - _DIARY) // 2
"""Stages, and what follows a stage, that can be stamped in a slot."""


def capacities(layouts: Iterable[Mapping[str, PlaneSpec]]) -> dict[str, int]:
    """Bytes that each plane needs so that every one of the layouts fits."""
    needed: dict[str, int] = {}
    for layout in layouts:
        for spec in layout.values():
            needed[spec.name] = max(needed.get(spec.name, 0), spec.n_bytes)
    return needed


class SlotPool:
    """`n_slots` rows, each with every plane that a frame of this stream will need."""

    def __init__(self, region: Region, n_slots: int, plane_bytes: Mapping[str, int]) -> None:
        self.region = region
        self.n_slots = n_slots
        self.plane_bytes = dict(plane_bytes)
        self._words: NDArray[np.int64] = region.array(0, (n_slots, _WORDS), "int64")
        self._offsets, self._stride = _layout(n_slots, plane_bytes)
        self._views: dict[tuple[int, PlaneSpec], NDArray[Any]] = {}

    @classmethod
    def create(cls, n_slots: int, plane_bytes: Mapping[str, int]) -> Self:
        """Allocate a pool; the region's descriptor is what other processes need."""
        offsets, stride = _layout(n_slots, plane_bytes)
        del offsets
        head = _round_up(n_slots * _WORDS * 8)
        return cls(Region.create(head + n_slots * stride, "slots"), n_slots, plane_bytes)

    @classmethod
    def attach(cls, fd: int, n_slots: int, plane_bytes: Mapping[str, int]) -> Self:
        """Open a pool that another process made."""
        _, stride = _layout(n_slots, plane_bytes)
        return cls(Region(fd, _round_up(n_slots * _WORDS * 8) + n_slots * stride), n_slots, plane_bytes)

    def acquire(
        self,
        slot: int,
        *,
        sequence: int,
        pts_ns: int,
        captured_ns: int,
        stream: int = 0,
        epoch: int = 0,
        flags: TicketFlag = TicketFlag.NONE,
    ) -> Ticket:
        """Begin a new frame in a free slot: a new generation, an empty diary. Only capture does this."""
        words = self._words[slot]
        generation = _next(int(words[_GENERATION]))
        words[_GENERATION] = generation
        words[_SEQUENCE] = sequence
        words[_CAPTURED_NS] = captured_ns
        words[_DIARY:] = 0
        return Ticket(slot, generation, sequence, pts_ns, stream, epoch, flags)

    def hand_over(self, ticket: Ticket, to: int) -> None:
        """Write the next owner's word; do this just before the ticket is sent.

        Raises:
            StaleTicket: the slot was reclaimed meanwhile.
        """
        self.check(ticket)
        self._words[ticket.slot, _OWNER] = to

    def check(self, ticket: Ticket) -> None:
        """Raise StaleTicket unless the ticket is of the slot's present generation."""
        present = int(self._words[ticket.slot, _GENERATION])
        if present != ticket.generation:
            raise StaleTicket(f"slot {ticket.slot} is at generation {present}, the ticket at {ticket.generation}")

    def view(self, slot: int, spec: PlaneSpec) -> NDArray[Any]:
        """One plane of one slot; the same view each time, written by the slot's owner alone."""
        key = (slot, spec)
        found = self._views.get(key)
        if found is None:
            if spec.n_bytes > self.plane_bytes[spec.name]:
                room = self.plane_bytes[spec.name]
                raise ValueError(f"plane {spec.name} of {spec.n_bytes} bytes does not fit the {room} of this pool")
            offset = _round_up(self.n_slots * _WORDS * 8) + slot * self._stride + self._offsets[spec.name]
            found = self._views[key] = self.region.array(offset, spec.shape, spec.dtype)
        return found

    def owner(self, slot: int) -> int:
        """The word of the worker that may write the slot."""
        return int(self._words[slot, _OWNER])

    def generation(self, slot: int) -> int:
        """Changes when capture acquires the slot and when the supervisor reclaims it."""
        return int(self._words[slot, _GENERATION])

    def captured_ns(self, slot: int) -> int:
        """When the source's read returned, on the monotonic clock."""
        return int(self._words[slot, _CAPTURED_NS])

    def reclaim(self, slot: int, to: int) -> int:
        """Take a slot from whoever had it: its tickets become stale. Returns the new generation."""
        words = self._words[slot]
        words[_GENERATION] = _next(int(words[_GENERATION]))
        words[_OWNER] = to
        return int(words[_GENERATION])

    def enter(self, slot: int, stage: int, now_ns: int) -> None:
        """Write into the slot's diary that a stage began."""
        self._words[slot, _DIARY + 2 * stage] = now_ns

    def leave(self, slot: int, stage: int, now_ns: int) -> None:
        """Write into the slot's diary that a stage ended."""
        self._words[slot, _DIARY + 2 * stage + 1] = now_ns

    def diary(self, slot: int, n_stages: int) -> list[int]:
        """`[enter, leave]` of each stage in turn, in ns; 0 where nothing was stamped."""
        written: list[int] = self._words[slot, _DIARY : _DIARY + 2 * n_stages].tolist()
        return written

    def snapshot(self) -> list[tuple[int, int]]:
        """(owner, generation) of every slot, as the census compares them."""
        return [(int(owner), int(generation)) for owner, generation in self._words[:, :2]]

    def close(self) -> None:
        """Give up this process's share."""
        self._views.clear()
        self._words = np.zeros((0, _WORDS), np.int64)
        self.region.close()


def _layout(n_slots: int, plane_bytes: Mapping[str, int]) -> tuple[dict[str, int], int]:
    if not 1 <= n_slots <= 255:
        raise ValueError(f"{n_slots} slots; a pool has 1 to 255")
    offsets: dict[str, int] = {}
    offset = 0
    for name, n_bytes in plane_bytes.items():
        offsets[name] = offset
        offset += _round_up(n_bytes)
    return offsets, offset


def _round_up(n_bytes: int) -> int:
    return -(-n_bytes // _PAGE) * _PAGE


def _next(generation: int) -> int:
    return (generation + 1) & 0xFFFFFFFF
