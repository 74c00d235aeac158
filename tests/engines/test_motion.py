"""Flow looks back: it says where a pixel of this picture was before."""

import cv2
import numpy as np
import pytest

from engines.errors import InputSizeError
from engines.motion import flow, luma, warp


def scene(height: int = 144, width: int = 256) -> np.ndarray:
    """A picture with structure of every size, as real ones have."""
    rng = np.random.default_rng(3)
    picture = np.zeros((height, width, 3), np.float32)
    for cells in (4, 9, 18, 36):
        coarse = rng.random((cells, 2 * cells, 3), np.float32)
        picture += np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32) / 4
    return np.clip(picture * 255, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("right", "down"), [(0, 0), (3, 0), (-2, 4), (9, -5)])
def test_flow_finds_where_the_picture_came_from(right: int, down: int):
    """A picture that moved to the right was to the left before."""
    before = scene()
    now = np.roll(before, (down, right), axis=(0, 1))

    found = flow(before, now)

    assert found.shape == (144, 256, 2)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.median(found, axis=(0, 1)), (-right, -down), atol=0.2)


def test_warp_brings_planes_along_whatever_their_size():
    """Planes at a quarter of the picture's size follow a picture that moved."""
    before = scene(288, 512)
    now = np.roll(before, 16, axis=1)
    planes = np.zeros((2, 72, 128), np.float32)
    planes[0, 20:40, 50:70] = 1.0
    planes[1] = 1.0

    moved = warp(planes, flow(before, now))

    expected = np.roll(planes, 4, axis=2)
    assert moved.shape == planes.shape
    assert np.abs(moved[0] - expected[0])[22:38, 56:72].max() < 0.1
    assert moved[0, 22:38, 50:52].max() < 0.3
    np.testing.assert_allclose(moved[1], 1.0, atol=1e-6)


def test_warp_writes_into_the_buffer_it_is_given():
    """A stream makes no array per frame."""
    planes = np.ones((3, 36, 64), np.float32)
    out = np.zeros_like(planes)

    moved = warp(planes, np.zeros((144, 256, 2), np.float32), out)

    assert moved is out
    assert out.min() == 1.0


def test_small_pictures_do_not_change_how_large_ones_are_searched():
    """OpenCV's searcher changes its own preset when it meets a small picture, and took 40 ms a frame ever after."""
    before = scene()
    now = np.roll(before, 3, axis=1)
    fresh = flow(before, now)

    flow(before[:30, :30], now[:30, :30])

    np.testing.assert_array_equal(flow(before, now), fresh)


@pytest.mark.parametrize("shape", [(1, 1), (3, 400), (15, 15), (16, 16), (40, 8)])
def test_tiny_pictures_have_a_flow_too(shape: tuple[int, int]):
    """Where OpenCV would refuse, nothing is taken to move."""
    picture = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)

    found = flow(picture, picture)

    assert found.shape == (*luma(picture).shape, 2)
    assert np.isfinite(found).all()


def test_two_sizes_are_refused():
    """A flow between pictures of two engines has no meaning."""
    with pytest.raises(InputSizeError, match="expected one size"):
        flow(scene(), scene(72, 128))
    with pytest.raises(InputSizeError, match="expected uint8"):
        luma(np.zeros((4, 4), np.uint8))
