"""A stream's CRF starts from the frame before: what is brought over, and when nothing is."""

import importlib.util

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.crf import open_solver
from engines.crf.memory import Memory, Unaries, shrunk
from engines.crf.stream import WARM_ITERATIONS, StreamCrf
from engines.crf.warm import example
from engines.errors import EngineError
from tests.engines.crf.scenes import disc

compiled = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="needs numba (pip install 'segstream[crf]')"
)
pytestmark = [pytest.mark.crf, pytest.mark.timeout(600)]


def _logits(probs: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.log(np.maximum(probs[:, ::4, ::4], 1e-5))


def _of(probs: NDArray[np.float32]) -> Unaries:
    return lambda height, width: shrunk(probs, height, width)


def test_the_past_is_brought_to_where_it_is_now() -> None:
    """A disc that moved by three pixels: its refined mask is moved along before it is a start."""
    probs, image_bgr = disc(96, 128, 2)
    sharp = (image_bgr[..., 1] > 120).astype(np.float32)
    memory = Memory()

    assert memory.start(image_bgr, 2, _of(probs)) is None, "the first frame has no past"
    memory.keep(np.stack([1 - sharp, sharp]))
    moved = np.roll(image_bgr, 3, axis=1)
    start = memory.start(moved, 2, _of(np.full_like(probs, 0.5)))

    assert start is not None
    off = np.abs(start[1] - np.roll(sharp, 3, axis=1)) > 0.5
    assert off.mean() < 0.5 * (np.abs(start[1] - sharp) > 0.5).mean()


def test_another_shot_has_no_past() -> None:
    """A picture that motion cannot explain, a picture of another size, and a frame after a reset start anew."""
    probs, image_bgr = disc(64, 64, 2)
    memory = Memory()

    def after(next_bgr: NDArray[np.uint8], reset: bool = False) -> NDArray[np.float32] | None:
        memory.start(image_bgr, 2, _of(probs))
        memory.keep(probs)
        if reset:
            memory.reset()
        return memory.start(next_bgr, 2, _of(probs))

    assert after(image_bgr) is not None
    assert after(255 - image_bgr) is None
    assert after(image_bgr[:32, :32].copy()) is None
    assert after(image_bgr, reset=True) is None


def test_where_something_new_is_seen_the_unaries_are_the_start() -> None:
    """A patch that was not there: the past does not speak for it."""
    probs, image_bgr = disc(96, 96, 2)
    memory = Memory()
    memory.start(image_bgr, 2, _of(probs))
    memory.keep(np.stack([np.ones((96, 96), np.float32), np.zeros((96, 96), np.float32)]))
    new = image_bgr.copy()
    new[4:24, 4:24] = 250

    unsaid = np.full_like(probs, 0.5)
    start = memory.start(new, 2, _of(unsaid))

    assert start is not None
    np.testing.assert_array_equal(start[:, 8:20, 8:20], unsaid[:, 8:20, 8:20])
    assert start[1, 60:, 60:].max() < 0.01


@compiled
@pytest.mark.parametrize("n_classes", [2, 3])
def test_steps_from_a_start_go_on_where_others_ended(n_classes: int) -> None:
    """Three steps and then two are five."""
    probs, image_bgr = disc(40, 52, n_classes)
    solver = open_solver("exact", "deeplab")

    begun = solver.mean_field(probs, image_bgr, 3)
    gone_on = solver.mean_field(probs, image_bgr, 2, begun)

    np.testing.assert_allclose(gone_on, solver.mean_field(probs, image_bgr, 5), atol=2e-3)


@compiled
@pytest.mark.parametrize("method", ["exact", "fast"])
def test_a_still_stream_ends_where_ten_steps_end(method: str) -> None:
    """Two steps a frame add up; a single frame of two would not be there yet."""
    probs, image_bgr = disc(64, 80, 2)
    logits, memory = _logits(probs), Memory()
    stream = StreamCrf("crf-readme", 5, method)

    for _ in range(6):
        refined = stream.refine(logits, image_bgr, memory)

    cold = StreamCrf("crf-readme", 10, method).refine(logits, image_bgr)
    short = StreamCrf("crf-readme", WARM_ITERATIONS, method).refine(logits, image_bgr)
    assert np.abs(refined - cold).mean() < 0.5 * np.abs(short - cold).mean()
    assert (refined.argmax(axis=0) == cold.argmax(axis=0)).mean() >= 0.995


@compiled
def test_a_class_near_the_limit_does_not_come_and_go() -> None:
    """One that took part stays with a mean at which it would not come in."""
    pair, image_bgr = disc(64, 80, 2)

    def frame(share: float) -> NDArray[np.float32]:
        probs = np.concatenate([pair * np.float32(1 - 2 * share), np.full((2, 64, 80), share, np.float32)])
        return _logits(probs)

    stream, memory = StreamCrf("crf-readme", 2, "fast"), Memory()
    outside = stream.refine(frame(0.0015), image_bgr, memory)[2:].any()
    inside = stream.refine(frame(0.003), image_bgr, memory)[2:].any()
    between = stream.refine(frame(0.0015), image_bgr, memory)[2:].any()

    assert (outside, inside, between) == (False, True, True)


def test_pydensecrf_says_that_it_cannot_be_told_where_to_start() -> None:
    """A start that would be ignored in silence is refused."""
    pytest.importorskip("pydensecrf", reason="needs pydensecrf (pip install 'segstream[crf]')")
    probs, image_bgr = disc(16, 16, 2)

    with pytest.raises(EngineError, match="always starts from the unaries"):
        open_solver("reference", "deeplab").mean_field(probs, image_bgr, 2, probs)


@compiled
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(("first", "then"), [(5.0, -4.0), (-4.0, 4.0), (-3.0, 5.0)])
def test_one_wrong_frame_leaves_no_ghost(n_classes: int, first: float, then: float) -> None:
    """A patch that the first frame got wrong: later frames are believed, though mean field alone would keep it."""
    image_bgr = np.full((144, 256, 3), 50, np.uint8)
    image_bgr[40:100, 80:170] = 190
    noise = np.random.default_rng(0)

    def seen(margin: float) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        logits = np.zeros((n_classes, 36, 64), np.float32)
        logits[1] = -6
        logits[1, 10:25, 20:43] = margin
        logits[2:] = -5
        camera = np.clip(image_bgr + noise.normal(0, 4, image_bgr.shape), 0, 255).astype(np.uint8)
        return logits, camera

    stream, memory = StreamCrf("crf-readme", 5, "fast"), Memory()
    stream.refine(*seen(first), memory)

    for _ in range(4):
        refined = stream.refine(*seen(then), memory)

    cold = StreamCrf("crf-readme", 10, "fast").refine(*seen(then))
    assert (refined.argmax(axis=0) != cold.argmax(axis=0)).mean() < 0.01


@compiled
def test_another_number_of_classes_has_no_past() -> None:
    """Twenty-one classes, then eleven, then two: the memory of the ones says nothing of the others."""
    stream, memory = StreamCrf("deeplab", 5, "fast"), Memory()
    image_bgr = disc(64, 80, 2)[1]

    shapes = [
        stream.refine(np.random.default_rng(n).normal(0, 1, (n, 16, 20)).astype(np.float32), image_bgr, memory).shape
        for n in (21, 11, 2, 21)
    ]

    assert shapes == [(n, 64, 80) for n in (21, 11, 2, 21)]


@compiled
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_warm_stream_compiles_nothing(n_classes: int) -> None:
    """What warms up before the first frame calls every kernel that a frame may call."""
    from engines.crf import band, blocks, many_classes, two_classes

    stream = StreamCrf("deeplab", 5, "fast")

    stream.refine(*example(n_classes))

    settle = two_classes.settle if n_classes == 2 else many_classes.settle
    kernels = [settle, band.sharpen, blocks.unsettled] if n_classes == 2 else [settle]
    assert all(kernel.signatures for kernel in kernels)


def test_a_wide_frame_is_no_trouble() -> None:
    """A letterbox strip, too low for the search of motion: it is taken to stand still."""
    for height in (8, 16, 20, 31, 32, 33):
        image_bgr = np.random.default_rng(0).integers(0, 256, (height, 320, 3)).astype(np.uint8)
        memory = Memory()
        probs = np.full((2, height, 320), 0.5, np.float32)
        memory.start(image_bgr, 2, _of(probs))
        memory.keep(probs)

        assert memory.start(image_bgr, 2, _of(probs)) is not None
