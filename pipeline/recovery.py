"""Finds the slots that a dead worker took along, and brings them home.

After a worker was replaced and every worker has the new routes, all are asked twice which slots they
hold. A slot that nobody claimed either time, and whose owner's word and generation did not change in
between, is lost: it gets a new generation, so that any ticket of it still on its way is stale, and goes
to capture by a grant. This covers tickets in the dead worker's queues, a worker killed between writing
the owner's word and sending, and a capture that lost its list of free slots.
"""

import time
from collections.abc import Mapping
from enum import Enum, auto

from pipeline.slots import SlotPool

__all__ = ["Recovery"]

_PAUSE_S = 0.08
"""Between the two questions: longer than a ticket is on its way."""

Slot = tuple[int, int, int]


class _Step(Enum):
    ROUTING = auto()
    FIRST = auto()
    PAUSE = auto()
    SECOND = auto()
    DONE = auto()


class Recovery:
    """One round of routes, two censuses and a sweep; `advance` says what to do next."""

    def __init__(self, version: int, workers: frozenset[str]) -> None:
        self.version = version
        self._workers = workers
        self._step = _Step.ROUTING
        self._routed: set[str] = set()
        self._answered: set[str] = set()
        self._claimed: set[Slot] = set()
        self._before: dict[int, list[tuple[int, int]]] = {}
        self._resume_at = 0.0

    @property
    def is_done(self) -> bool:
        """True when the sweep can be made."""
        return self._step is _Step.DONE

    def routed(self, worker: str, version: int) -> None:
        """A worker has these routes."""
        if version == self.version:
            self._routed.add(worker)

    def held(self, worker: str, census: int, slots: list[list[int]]) -> None:
        """A worker's answer to a census."""
        if census == self._census:
            self._answered.add(worker)
            self._claimed.update((stream, slot, generation) for stream, slot, generation in slots)

    def advance(self, pools: Mapping[int, SlotPool]) -> int | None:
        """Take the next step if it is time; the number of a census to ask for, or None."""
        if self._step is _Step.ROUTING and self._routed >= self._workers:
            self._before = {stream: pool.snapshot() for stream, pool in pools.items()}
            self._step = _Step.FIRST
            return self._census
        if self._step is _Step.FIRST and self._answered >= self._workers:
            self._step, self._resume_at = _Step.PAUSE, time.monotonic() + _PAUSE_S
        if self._step is _Step.PAUSE and time.monotonic() >= self._resume_at:
            self._step = _Step.SECOND
            self._answered.clear()
            return self._census
        if self._step is _Step.SECOND and self._answered >= self._workers:
            self._step = _Step.DONE
        return None

    def sweep(self, pools: Mapping[int, SlotPool], capture_tokens: Mapping[int, int]) -> list[Slot]:
        """Reclaim the lost slots; (stream, slot, new generation) of each, to be granted to capture."""
        granted = []
        for stream, pool in pools.items():
            for slot, (before, now) in enumerate(zip(self._before[stream], pool.snapshot(), strict=True)):
                if before == now and (stream, slot, now[1]) not in self._claimed:
                    granted.append((stream, slot, pool.reclaim(slot, capture_tokens[stream])))
        return granted

    @property
    def _census(self) -> int:
        return self.version * 2 + (1 if self._step is _Step.SECOND else 0)
