"""The census finds exactly the slots that nobody has."""

import pytest

from pipeline import recovery as recovery_module
from pipeline.recovery import Recovery
from pipeline.slots import SlotPool

CAPTURE, DEAD, ALIVE = 1 << 16 | 1, 2 << 16 | 1, 3 << 16 | 1


@pytest.fixture
def pool(monkeypatch):
    """Four slots, and no pause between two censuses."""
    monkeypatch.setattr(recovery_module, "_PAUSE_S", 0.0)
    pool = SlotPool.create(4, {"image_bgr": 16})
    yield pool
    pool.close()


def _answers(recovery, pools, *rounds):
    """Play a whole recovery of two workers; each round is what worker `a` and worker `b` claim."""
    for worker in ("a", "b"):
        recovery.routed(worker, recovery.version)
    for claims in rounds:
        census = recovery.advance(pools)
        if census is None:
            census = recovery.advance(pools)
        for worker, slots in zip(("a", "b"), claims, strict=True):
            recovery.held(worker, census, slots)
    recovery.advance(pools)


def _in_flight(pool, slot, owner):
    ticket = pool.acquire(slot, sequence=slot, pts_ns=0, captured_ns=0)
    pool.hand_over(ticket, owner)
    return [0, slot, ticket.generation]


def test_what_nobody_claims_comes_home(pool) -> None:
    """A dead owner's slot and one lost between owner's word and send are reclaimed; claimed ones are not."""
    pools = {0: pool}
    dead = _in_flight(pool, 0, DEAD)
    disowned = _in_flight(pool, 1, ALIVE)
    held = _in_flight(pool, 2, ALIVE)
    free = _in_flight(pool, 3, CAPTURE)
    recovery = Recovery(5, frozenset({"a", "b"}))

    _answers(recovery, pools, ([held], [free]), ([held], [free]))
    granted = recovery.sweep(pools, {0: CAPTURE})

    assert recovery.is_done
    assert [(stream, slot) for stream, slot, _ in granted] == [(0, dead[1]), (0, disowned[1])]
    assert all(pool.generation(slot) == generation for _, slot, generation in granted)


def test_a_ticket_on_its_way_is_not_taken(pool) -> None:
    """In the first census its new owner had not seen it yet; claiming it in the second is enough."""
    pools = {0: pool}
    claims = [_in_flight(pool, slot, ALIVE) for slot in range(4)]
    recovery = Recovery(1, frozenset({"a", "b"}))

    _answers(recovery, pools, (claims[:3], []), (claims[:3], [claims[3]]))

    assert recovery.sweep(pools, {0: CAPTURE}) == []


def test_a_slot_that_moved_between_the_questions_is_not_taken(pool) -> None:
    """It was acquired anew after the first census, so somebody has it."""
    pools = {0: pool}
    claims = [_in_flight(pool, slot, ALIVE) for slot in range(3)]
    _in_flight(pool, 3, ALIVE)
    recovery = Recovery(1, frozenset({"a"}))
    recovery.routed("a", 1)
    first = recovery.advance(pools)
    recovery.held("a", first, claims)
    _in_flight(pool, 3, ALIVE)
    second = recovery.advance(pools)
    recovery.held("a", second, claims)
    recovery.advance(pools)

    assert recovery.sweep(pools, {0: CAPTURE}) == []


def test_answers_to_an_older_census_do_not_count(pool) -> None:
    """A worker that is slow cannot make a sweep begin with what it held a while ago."""
    pools = {0: pool}
    recovery = Recovery(2, frozenset({"a"}))
    recovery.routed("a", 1)
    assert recovery.advance(pools) is None

    recovery.routed("a", 2)
    census = recovery.advance(pools)
    recovery.held("a", census - 2, [])
    recovery.advance(pools)
    assert not recovery.is_done
