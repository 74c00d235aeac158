"""Pictures for TensorBoard: which are taken, how labels are coloured, how a grid is laid."""

import numpy as np

from engines.data import IGNORE
from engines.training.seen.pictures import CELL_PX, GAP_PX, coloured, grid, spread
from tests.engines.toy import PALETTE


def test_pictures_are_taken_from_the_whole_set() -> None:
    """Four of ten: the first, the last, and two between; never more than there are."""
    assert spread(range(10), 10, 4) == [0, 3, 6, 9]
    assert spread(range(2), 2, 4) == [0, 1]


def test_background_stays_and_ignored_pixels_are_white() -> None:
    """A class takes its colour's part, class 0 keeps the picture, 255 has no colour of its own."""
    image = np.full((1, 3, 3), 100, np.uint8)

    ((background, square, ignored),) = coloured(image, np.array([[0, 1, IGNORE]], np.uint8), PALETTE)

    assert (background == 100).all()
    assert square[2] > 150
    assert square[0] < 100
    assert (ignored > 150).all()


def test_a_grid_of_wide_pictures_is_not_square() -> None:
    """16:9 pictures leave no dark bands between the rows."""
    wide = np.full((90, 160, 3), 200, np.uint8)

    sheet = grid([[wide, wide, wide], [wide, wide, wide]])

    assert sheet.shape == (2 * (108 + GAP_PX) + GAP_PX, 3 * (CELL_PX + GAP_PX) + GAP_PX, 3)
    assert (sheet == 200).all(axis=2).mean() > 0.9
