"""Fused logits flicker less, and lag behind nothing."""

from itertools import pairwise

import numpy as np
import pytest

from engines.errors import EngineError, InputSizeError
from engines.temporal import TemporalFusion, Watch
from tests.engines.temporal.scenes import HEIGHT, WIDTH, backdrop, shot


def n_flips(masks: list[np.ndarray]) -> int:
    """Changed labels from frame to frame."""
    return sum(int(np.count_nonzero(old != now)) for old, now in pairwise(masks))


def mask(logits: np.ndarray) -> np.ndarray:
    """Where the second class wins."""
    return logits[1] > logits[0]


def test_flicker_on_a_still_picture_is_less_than_half():
    """What changes while nothing moves is noise of the network."""
    frames = list(shot(0, 14, flicker=0.8))
    fusion = TemporalFusion(0.8)

    raw = [mask(logits) for logits, _ in frames]
    steady = [mask(fusion.fuse(logits, tensor_bgr)) for logits, tensor_bgr in frames]

    assert n_flips(raw) > 100
    assert n_flips(steady) < n_flips(raw) / 2


@pytest.mark.parametrize("step_px", [3, 8, 20])
def test_a_moving_mask_is_not_delayed(step_px: float):
    """The centre of the mask stays within half a pixel of the engine's input of where the engine saw it."""
    fusion = TemporalFusion(1.0)
    columns = np.arange(WIDTH // 4) * 4

    for logits, tensor_bgr in shot(step_px, 6):
        raw, steady = mask(logits), mask(fusion.fuse(logits, tensor_bgr))
        lag_px = np.average(columns, weights=raw.sum(0)) - np.average(columns, weights=steady.sum(0))
        assert abs(lag_px) < 0.5


def test_a_slow_mover_is_not_delayed_either():
    """Half a pixel a frame shows in no single frame; without the tracking signal the mask stayed 2 px behind."""
    fusion = TemporalFusion(1.0)
    lags_px = []

    for logits, tensor_bgr in shot(0.5, 20):
        fused = fusion.fuse(logits, tensor_bgr)
        # The middle row's two crossings of zero, to a fraction of a pixel: a mask of whole pixels hides slow lag.
        margins = [planes[1, HEIGHT // 8] - planes[0, HEIGHT // 8] for planes in (logits, fused)]
        raw_px, fused_px = (np.mean(crossings(margin)) * 4 for margin in margins)
        lags_px.append(raw_px - fused_px)

    assert abs(np.mean(lags_px[10:])) < 0.6


def crossings(margin: np.ndarray) -> np.ndarray:
    """Places where a line crosses zero."""
    at = np.flatnonzero(np.diff(np.sign(margin)))
    return at + margin[at] / (margin[at] - margin[at + 1])


def test_a_mover_leaves_no_trail():
    """Where a thing was and is no more, the background's logits are back at once."""
    fusion = TemporalFusion(1.0)
    frames = list(shot(20, 4))

    steady = [mask(fusion.fuse(logits, tensor_bgr)) for logits, tensor_bgr in frames]

    raw = mask(frames[-1][0])
    assert np.count_nonzero(steady[-1] & ~raw) <= 0.02 * np.count_nonzero(raw)


def test_stability_0_gives_back_the_input():
    """Off is off: the very array, untouched."""
    logits, tensor_bgr = next(shot(0, 1, flicker=1.0))
    before = logits.copy()

    assert TemporalFusion(0.0).fuse(logits, tensor_bgr) is logits
    np.testing.assert_array_equal(logits, before)


def test_more_stability_is_steadier():
    """The knob turns one way."""
    frames = list(shot(0, 10, flicker=0.8))
    found = []
    for stability in (0.2, 0.5, 1.0):
        fusion = TemporalFusion(stability)
        found.append(n_flips([mask(fusion.fuse(*frame)) for frame in frames]))

    assert found[0] > found[1] > found[2]


def test_the_input_is_left_alone_and_the_output_is_the_fusions_own():
    """Logits lie in a slot that another stage may read."""
    frames = list(shot(2, 3, flicker=0.5))
    kept = [logits.copy() for logits, _ in frames]
    fusion = TemporalFusion(0.7)

    outputs = [fusion.fuse(logits, tensor_bgr) for logits, tensor_bgr in frames]

    assert outputs[0] is outputs[1] is outputs[2]
    for (logits, _), before in zip(frames, kept, strict=True):
        np.testing.assert_array_equal(logits, before)


def test_after_a_cut_the_mask_is_the_engines():
    """Another shot: nothing of the one before shines through."""
    fusion = TemporalFusion(1.0)
    for logits, tensor_bgr in shot(0, 4):
        fusion.fuse(logits, tensor_bgr)
    other = np.zeros_like(logits)
    other[0] = 4.0

    fused = fusion.fuse(other, backdrop(9).astype(np.uint8))

    assert fusion.was_cut
    np.testing.assert_array_equal(fused, other)


def test_reset_forgets():
    """After a gap the next frame goes through as it is."""
    fusion = TemporalFusion(1.0)
    first, second = list(shot(0, 2, flicker=1.0))
    fusion.fuse(*first)

    fusion.reset()

    np.testing.assert_array_equal(fusion.fuse(*second), second[0])


def test_a_change_of_the_engines_mind_goes_through():
    """On a still picture a network that is suddenly sure is believed, not averaged."""
    fusion = TemporalFusion(1.0)
    for logits, tensor_bgr in shot(0, 5):
        fusion.fuse(logits, tensor_bgr)
    sure = logits.copy()
    sure[:, 4:12, 2:8] = np.array([-4.0, 4.0], np.float32)[:, None, None]

    fused = fusion.fuse(sure, tensor_bgr)

    np.testing.assert_allclose(fused[:, 6:10, 4:6], sure[:, 6:10, 4:6], atol=1e-5)


def test_another_size_starts_anew():
    """An engine of another size has another grid."""
    fusion = TemporalFusion(1.0)
    logits, tensor_bgr = next(shot(0, 1))
    fusion.fuse(logits, tensor_bgr)

    halves = np.ascontiguousarray(logits[:, ::2, ::2])

    np.testing.assert_array_equal(fusion.fuse(halves, np.ascontiguousarray(tensor_bgr[::2, ::2])), halves)
    np.testing.assert_array_equal(fusion.fuse(halves, tensor_bgr), halves)


def test_nonsense_does_not_stay():
    """A frame of NaN passes, as it would without a memory; the next is whole again."""
    fusion = TemporalFusion(1.0)
    frames = list(shot(0, 3))
    fusion.fuse(*frames[0])

    broken = fusion.fuse(np.full_like(frames[1][0], np.nan), frames[1][1])
    assert not np.isfinite(broken).any()

    np.testing.assert_array_equal(fusion.fuse(*frames[2]), frames[2][0])


def test_nonsense_at_the_first_frame_does_not_stay_either():
    """There is no memory yet to be thrown away; it must not become one."""
    fusion = TemporalFusion(1.0)
    logits, picture = np.zeros((2, 24, 32), np.float32), np.zeros((96, 128, 3), np.uint8)
    broken = logits.copy()
    broken[0, 12, 16] = np.nan

    fusion.fuse(broken, picture)

    assert np.isfinite(fusion.fuse(logits, picture)).all()


def test_many_classes_are_fused_alike():
    """What is added to all classes is no disagreement, and classes in another order give the same."""
    fusion, turned = TemporalFusion(1.0), TemporalFusion(1.0)
    rng = np.random.default_rng(5)
    order = [3, 1, 4, 0, 2]
    for _, tensor_bgr in shot(3, 4):
        logits = rng.normal(0, 1, (5, HEIGHT // 4, WIDTH // 4)).astype(np.float32)

        np.testing.assert_allclose(
            fusion.fuse(logits, tensor_bgr)[order], turned.fuse(logits[order], tensor_bgr), atol=1e-5
        )


def test_what_cannot_be_fused_is_refused():
    """With what was received and what was expected."""
    tensor_bgr = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    with pytest.raises(EngineError, match="expected 0"):
        TemporalFusion(1.5)
    with pytest.raises(EngineError, match="expected 0"):
        TemporalFusion(float("nan"))
    with pytest.raises(InputSizeError, match="float64"):
        TemporalFusion(1.0).fuse(np.zeros((2, 24, 48)), tensor_bgr)
    with pytest.raises(InputSizeError, match="expected uint8"):
        TemporalFusion(1.0).fuse(np.zeros((2, 24, 48), np.float32), tensor_bgr[..., 0])


def test_a_still_picture_with_sensor_noise_shows_no_change():
    """Else a dark room would never be steadied."""
    rng = np.random.default_rng(0)
    watch = Watch()
    for _ in range(3):
        noisy = np.clip(backdrop(1) + rng.normal(0, 6, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)
        moved = watch.see(noisy, HEIGHT // 4, WIDTH // 4)

    assert moved is not None
    assert not moved.is_cut
    assert moved.change.mean() < 0.05


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (2, 3)])
def test_tiny_logits_are_fused_too(shape: tuple[int, int]):
    """A degenerate engine does not bring the stream down."""
    logits = np.ones((2, *shape), np.float32)
    tensor_bgr = np.zeros((4 * shape[0], 4 * shape[1], 3), np.uint8)
    fusion = TemporalFusion(1.0)

    for _ in range(3):
        np.testing.assert_allclose(fusion.fuse(logits, tensor_bgr), logits)
