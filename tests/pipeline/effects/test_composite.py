"""The one blend of all effects: exact within two levels, whatever the alpha and the size."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.effects.composite import TILE_HEIGHT_PX, TILE_WIDTH_PX, Compositor
from tests.pipeline.effects.scenes import busy_image

SIZES = [(1, 1), (3, 200), (71, 31), (72, 32), (73, 33), (150, 97), (300, 5)]


def _by_the_formula(
    image: NDArray[np.uint8], alpha: NDArray[np.uint8], behind: NDArray[np.uint8]
) -> NDArray[np.float64]:
    share = alpha[..., None].astype(np.float64) / 255
    return behind + (image.astype(np.float64) - behind) * share


def _alphas(height: int, width: int) -> dict[str, NDArray[np.uint8]]:
    rng = np.random.default_rng(11)
    tiles = rng.choice([0, 1, 4, 128, 251, 254, 255], (height // TILE_HEIGHT_PX + 1, width // TILE_WIDTH_PX + 1))
    checkered = np.kron(tiles, np.ones((TILE_HEIGHT_PX, TILE_WIDTH_PX)))[:height, :width].astype(np.uint8)
    one_pixel = np.zeros((height, width), np.uint8)
    one_pixel[-1, -1] = 128
    one_hole = np.full((height, width), 255, np.uint8)
    one_hole[height // 2, width // 2] = 0
    return {
        "noise": rng.integers(0, 256, (height, width), np.uint8),
        "tiles of each kind": checkered,
        "one pixel in the last corner": one_pixel,
        "one hole": one_hole,
        "nothing": np.zeros((height, width), np.uint8),
        "everything": np.full((height, width), 255, np.uint8),
    }


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_blend_keeps_to_the_formula(height: int, width: int) -> None:
    """Tiles are skipped, copied or multiplied, and no one can see which."""
    image, behind = busy_image(width, height, seed=1), busy_image(width, height, seed=2)
    compositor = Compositor(height, width)

    for name, alpha in _alphas(height, width).items():
        out = behind.copy()
        compositor.over(image, alpha, out)
        # Two roundings of half a level, and alphas up to 2 of 255 that count as none.
        error = np.abs(out - _by_the_formula(image, alpha, behind))
        assert error.max() <= 2, name


def test_a_sharp_alpha_is_exact() -> None:
    """Where alpha is 0 or 255 the pixels are those of one side, bit by bit."""
    image, behind = busy_image(200, 150, seed=1), busy_image(200, 150, seed=2)
    alpha = np.zeros((150, 200), np.uint8)
    alpha[40:100, 30:120] = 255
    out = behind.copy()

    Compositor(150, 200).over(image, alpha, out)

    np.testing.assert_array_equal(out, np.where(alpha[..., None] == 255, image, behind))


def test_a_view_with_gaps_between_its_rows_can_be_painted() -> None:
    """Composite planes may be part of a larger array."""
    image, behind = busy_image(60, 40, seed=1), busy_image(100, 40, seed=2)
    alpha = np.full((40, 60), 100, np.uint8)
    out = behind.copy()

    Compositor(40, 60).over(image, alpha, out[:, 20:80])

    assert np.abs(out[:, 20:80] - _by_the_formula(image, alpha, behind[:, 20:80])).max() <= 2
    np.testing.assert_array_equal(out[:, :20], behind[:, :20])
