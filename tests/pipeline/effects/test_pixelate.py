"""Blocks behind the subject."""

import numpy as np
import pytest

from pipeline.effects.pixelate import Pixelate
from tests.pipeline.effects.scenes import person_scene


@pytest.mark.parametrize("block_px", [2, 7, 16, 20, 100])
def test_each_block_has_one_colour(block_px: int) -> None:
    """Blocks begin at the upper left corner; those at the far edges may be cut."""
    scene = person_scene()
    scene.matte.alpha.fill(0)

    painted = scene.painted(Pixelate(block_px=block_px))

    for top in range(0, 96, block_px):
        for left in range(0, 160, block_px):
            block = painted[top : top + block_px, left : left + block_px]
            assert (block == block[0, 0]).all()


def test_a_blocks_colour_is_the_mean_of_what_it_hides() -> None:
    """A block of 16 px divides this frame evenly, so its colour is its own mean."""
    scene = person_scene()
    scene.matte.alpha.fill(0)

    painted = scene.painted(Pixelate(block_px=16))

    means = scene.image_bgr.reshape(6, 16, 10, 16, 3).mean(axis=(1, 3))
    # Halving rounds each time: four roundings of half a level.
    assert np.abs(painted[::16, ::16] - means).max() <= 2


def test_the_subject_is_not_pixelated() -> None:
    """Where alpha is full, each pixel is the captured one."""
    scene = person_scene()

    painted = scene.painted(Pixelate())

    inside = scene.matte.alpha == 255
    np.testing.assert_array_equal(painted[inside], scene.image_bgr[inside])


def test_strength_scales_the_blocks() -> None:
    """Never below the smallest block that hides anything."""
    assert Pixelate(block_px=20).with_strength(1.5) == Pixelate(block_px=30)
    assert Pixelate(block_px=4).with_strength(0.01) == Pixelate(block_px=2)
