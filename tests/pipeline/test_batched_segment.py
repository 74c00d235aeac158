"""Segment with several streams: one call of the engine for as many frames as it takes, each with its own answer."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engines.errors import EngineError
from engines.runtime.fake_engine import SHAPE_BGR
from pipeline.frame import Frame, Ticket
from pipeline.settings import Settings
from pipeline.stages import StageContext
from pipeline.stages.segment import Segment

WIDTH, HEIGHT = 64, 32

Opened = Callable[..., Segment]


@pytest.fixture
def opened(request: pytest.FixtureRequest) -> Opened:
    """Makes a stage that serves; `engine` is what follows `fake@64x32?`."""

    def make(engine: str, n_streams: int, **options: Any) -> Segment:
        stage = Segment(
            StageContext(
                streams=tuple(range(n_streams)),
                pacing="live",
                n_threads=1,
                backend="auto",
                options=options,
                tell=lambda _message: None,
                wake=lambda: None,
                beat=lambda: None,
            )
        )
        request.addfinalizer(stage.close)
        serve(stage, engine)
        return stage

    return make


def serve(stage: Segment, engine: str, epoch: int = 0) -> None:
    """Follow an engine from the next frame on."""
    stage.use(stage.prepare(Settings(epoch, f"fake@{WIDTH}x{HEIGHT}?{engine}", ("none",))))


def frames(n: int) -> list[Frame]:
    """One of each stream, the shape at another place in each; masks hold 77."""
    made = []
    for stream in range(n):
        planes = {
            "tensor_bgr": np.full((HEIGHT, WIDTH, 3), 30, np.uint8),
            **{name: np.full((HEIGHT, WIDTH), 77, np.uint8) for name in ("alpha", "labels")},
        }
        planes["tensor_bgr"][4:20, 6 * stream : 6 * stream + 10] = SHAPE_BGR
        made.append(Frame(Ticket(0, 1, 0, 0, stream), planes.__getitem__))
    return made


def are_right(done: list[Frame]) -> bool:
    """Whether each frame has the mask of its own picture."""
    return all(
        np.array_equal(frame.plane("alpha") == 255, (frame.plane("tensor_bgr") == SHAPE_BGR).all(axis=2))
        and set(np.unique(frame.plane("alpha"))) == {0, 255}
        for frame in done
    )


def test_frames_of_several_streams_are_one_inference(opened: Opened) -> None:
    """The engine fails at its second call, and five frames need no second."""
    stage = opened("max_batch=8&fail_at=1", 5)
    batch = frames(5)

    stage.submit(batch)

    done = list(stage.finished())
    assert stage.batch == 5
    assert done == batch, "in the order of submission"
    assert are_right(done)
    with pytest.raises(EngineError, match="fails at inference 1"):
        stage.submit(frames(2))


def test_an_engine_of_one_picture_a_call_gets_one_call_a_frame(opened: Opened) -> None:
    """And asks for one frame at a time, so that none waits for another's inference."""
    stage = opened("fail_at=3", 3)
    stage.submit(frames(3))

    assert stage.batch == 1
    assert are_right(list(stage.finished()))
    with pytest.raises(EngineError, match="fails at inference 3"):
        stage.submit(frames(1))


@pytest.mark.parametrize(
    ("n_streams", "asked", "batch"), [(1, 0, 1), (1, 4, 1), (3, 0, 3), (3, 2, 2), (6, 5, 4), (6, 0, 4)]
)
def test_how_many_frames_a_call(opened: Opened, n_streams: int, asked: int, batch: int) -> None:
    """One stream is never batched; else what was asked for, what the engine takes (4), and one a stream: the least."""
    assert opened("max_batch=4", n_streams, batch=asked).batch == batch


def test_a_smaller_engine_may_be_swapped_in_before_a_batch(opened: Opened) -> None:
    """Frames of the old size of batch go to the new engine in parts."""
    stage = opened("max_batch=8", 5)
    serve(stage, "max_batch=2", epoch=1)
    batch = frames(5)

    stage.submit(batch)

    assert stage.batch == 2
    assert list(stage.finished()) == batch
    assert are_right(batch)


def test_the_same_buffers_serve_every_batch(opened: Opened) -> None:
    """Batches of any size follow each other, and no answer of an earlier one is left in a later one."""
    stage = opened("max_batch=8", 6)
    for n in (6, 2, 4, 1, 6, 3):
        batch = frames(6)[-n:]
        stage.submit(batch)

        assert list(stage.finished()) == batch
        assert are_right(batch)


def test_nothing_is_allocated_for_a_batch(opened: Opened) -> None:
    """The planes are copied into buffers that stay; what Python holds besides are views and dictionaries."""
    stage = opened("max_batch=8", 8)
    batches = [frames(8), frames(8)[:5]]
    for batch in batches:
        stage.submit(batch)
        list(stage.finished())
    peaks = []
    tracemalloc.start()
    try:
        for _ in range(20):
            for batch in batches:
                before, _ = tracemalloc.get_traced_memory()
                tracemalloc.reset_peak()
                stage.submit(batch)
                list(stage.finished())
                peaks.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()

    assert min(peaks) < 8192  # one stacked input has 48 KiB, one stacked mask 16
