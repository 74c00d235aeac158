"""Slots: planes, owners, generations."""

import numpy as np
import pytest

from pipeline.errors import StaleTicket, StreamError
from pipeline.frame import PlaneSpec
from pipeline.memory import Region
from pipeline.slots import SlotPool, capacities

IMAGE = PlaneSpec("image_bgr", (4, 6, 3), "uint8")
ALPHA = PlaneSpec("alpha", (2, 3), "uint8")
CAPTURE, SEGMENT = 1 << 16 | 1, 2 << 16 | 1


@pytest.fixture
def pool():
    """Three small slots."""
    pool = SlotPool.create(3, capacities([{"image_bgr": IMAGE, "alpha": ALPHA}]))
    yield pool
    pool.close()


def test_another_process_sees_the_same_pixels(pool) -> None:
    """A pool attached by descriptor shares planes and words."""
    import os

    other = SlotPool.attach(os.dup(pool.region.fd), pool.n_slots, pool.plane_bytes)
    ticket = pool.acquire(2, sequence=7, pts_ns=0, captured_ns=11)
    pool.view(2, IMAGE)[...] = 99
    pool.hand_over(ticket, SEGMENT)

    assert (other.view(2, IMAGE) == 99).all()
    assert (other.owner(2), other.captured_ns(2)) == (SEGMENT, 11)
    other.close()


def test_slots_and_planes_do_not_overlap(pool) -> None:
    """Writing one plane of one slot changes nothing else."""
    for slot in range(3):
        for spec in (IMAGE, ALPHA):
            pool.view(slot, spec)[...] = 10 * slot + len(spec.name)

    for slot in range(3):
        for spec in (IMAGE, ALPHA):
            assert (pool.view(slot, spec) == 10 * slot + len(spec.name)).all()


def test_a_reclaimed_slot_refuses_its_old_ticket(pool) -> None:
    """After a worker dies, tickets still in flight for its slots are stale."""
    ticket = pool.acquire(0, sequence=7, pts_ns=0, captured_ns=0)
    pool.hand_over(ticket, SEGMENT)

    pool.reclaim(0, CAPTURE)

    with pytest.raises(StaleTicket, match="slot 0"):
        pool.check(ticket)
    with pytest.raises(StaleTicket):
        pool.hand_over(ticket, SEGMENT)
    assert pool.owner(0) == CAPTURE


def test_a_new_frame_has_an_empty_diary(pool) -> None:
    """Stamps of the frame that was in the slot before do not show."""
    pool.acquire(1, sequence=0, pts_ns=0, captured_ns=0)
    pool.enter(1, 0, 5)
    pool.leave(1, 0, 9)
    assert pool.diary(1, 2) == [5, 9, 0, 0]

    pool.acquire(1, sequence=1, pts_ns=0, captured_ns=0)

    assert pool.diary(1, 2) == [0, 0, 0, 0]


def test_a_plane_has_room_for_the_largest_engine() -> None:
    """Capacities are the maximum over the layouts, and a larger view is refused."""
    small, large = PlaneSpec("alpha", (2, 2), "uint8"), PlaneSpec("alpha", (4, 4), "uint8")
    pool = SlotPool.create(1, capacities([{"alpha": small}, {"alpha": large}]))

    assert pool.view(0, small).shape == (2, 2)
    assert pool.view(0, large).shape == (4, 4)
    with pytest.raises(ValueError, match="does not fit"):
        pool.view(0, PlaneSpec("alpha", (5, 4), "uint8"))
    pool.close()


def test_memory_that_cannot_be_had_is_an_error_at_the_start() -> None:
    """More than the machine has free is a StreamError with a remedy, before anything is allocated."""
    with pytest.raises(StreamError, match="smaller --size"):
        Region.create(1 << 50, "slots")


def test_a_generation_wraps_around(pool) -> None:
    """The generation stays within the 32 bits that a ticket has for it."""
    pool._words[0, 1] = 0xFFFFFFFF

    assert pool.acquire(0, sequence=0, pts_ns=0, captured_ns=0).generation == 0


def test_views_are_made_once(pool) -> None:
    """The same array is given each time: nothing is allocated per frame."""
    assert pool.view(0, IMAGE) is pool.view(0, IMAGE)
    assert isinstance(pool.view(0, IMAGE), np.ndarray)
