"""Calls that overlap: whatever order the streams take, each answer is of its own picture, and they come in order."""

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from engines.errors import DeviceLost, EngineError
from engines.runtime.overlap import IN_FLIGHT, N_SETS, Call, Overlap
from engines.runtime.resident import Resident
from tests.engines.runtime.streams import RandomDevice, World

N_BYTES = 8
Make = Callable[..., tuple[Overlap, World]]


def _lost(error: BaseException) -> DeviceLost | None:
    return DeviceLost("gone") if "700" in str(error) else None


@pytest.fixture
def opened() -> Iterator[Make]:
    """Makes an engine that answers with its picture's number plus one, and with twice its number."""
    made: list[Overlap] = []

    def make(seed: int = 0, fails_at: int = 1_000_000, told: str = "CUDA error 2") -> tuple[Overlap, World]:
        world = World(seed)
        work = RandomDevice(world)
        names = ("image_bgr", "alpha", "labels")
        buffers = {name: work.allocate(N_BYTES) for name in names}
        calls = iter(range(1_000_000))

        def launch() -> None:
            if next(calls) == fails_at:
                raise EngineError(told)
            work.do(lambda: np.copyto(work.bytes(buffers["alpha"]), work.bytes(buffers["image_bgr"]) + 1))
            work.do(lambda: np.copyto(work.bytes(buffers["labels"]), work.bytes(buffers["image_bgr"]) * 2))

        overlap = Overlap(Resident(work, buffers, launch, _lost), wake.set)
        made.append(overlap)
        return overlap, world

    wake = threading.Event()
    yield make
    for overlap in made:
        overlap.close()


def _submitted(overlap: Overlap, number: int) -> tuple[Call, np.ndarray, np.ndarray]:
    alpha, labels = np.zeros(N_BYTES, np.uint8), np.zeros(N_BYTES, np.uint8)
    call = overlap.submit(np.full(N_BYTES, number, np.uint8), {"alpha": alpha, "labels": labels})
    return call, alpha, labels


@pytest.mark.parametrize("seed", range(25))
def test_every_answer_is_of_its_own_picture_in_any_order_of_the_streams(opened: Make, seed: int) -> None:
    """Two under way, three sets of buffers, forty pictures: no set is written while something still needs it."""
    overlap, _ = opened(seed)
    flying: list[tuple[int, Call, np.ndarray, np.ndarray]] = []
    for number in range(1, 41):
        flying.append((number, *_submitted(overlap, number)))
        if len(flying) == IN_FLIGHT:
            number_then, call, alpha, labels = flying.pop(0)
            call.done.wait()

            assert (set(alpha), set(labels)) == ({number_then + 1}, {2 * number_then})


def test_calls_are_done_in_the_order_in_which_they_were_begun(opened: Make) -> None:
    """So a stage hands frames on in order."""
    overlap, _ = opened(3)
    calls = [_submitted(overlap, number)[0] for number in range(N_SETS)]

    calls[-1].done.wait()

    assert all(call.is_done for call in calls)


def test_closing_waits_and_gives_everything_back(opened: Make) -> None:
    """Nothing is copied any more when the engine's own buffers go; marks, buffers and both streams are free."""
    overlap, world = opened(5)
    call, alpha, _ = _submitted(overlap, 9)

    overlap.close()

    assert call.is_done
    assert set(alpha) == {10}
    assert world.n_freed == N_SETS * (3 + 3)
    assert [stream.is_closed for stream in world.streams] == [False, True, True], "the engine's own is the engine's"


def test_a_gpu_that_is_lost_is_told_and_not_touched_again(opened: Make) -> None:
    """The number of a sticky error makes it a loss; closing then frees nothing."""
    overlap, world = opened(fails_at=2, told="cudaGraphLaunch: CUDA error 700")
    for number in (1, 2):
        _submitted(overlap, number)[0].done.wait()

    with pytest.raises(DeviceLost, match="gone"):
        _submitted(overlap, 3)
    overlap.close()

    assert world.n_freed == 0


def test_a_copy_that_fails_is_raised_where_its_call_is_looked_at(opened: Make) -> None:
    """The thread that waits has nobody to raise it to."""
    overlap, world = opened()

    def fail() -> None:
        raise EngineError("cudaEventSynchronize: CUDA error 1")

    world.streams[-1].do(fail)
    call, _, _ = _submitted(overlap, 1)
    call.done.wait()
    world.streams[-1].queue.clear()

    with pytest.raises(EngineError, match="CUDA error 1"):
        call.check()
