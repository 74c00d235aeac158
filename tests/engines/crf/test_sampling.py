"""Which pixels stand for the others, and how what they have is brought to all."""

import numpy as np
import pytest

pytest.importorskip("numba", reason="needs numba (pip install 'segstream[crf]')")

from engines.crf.sampling import FRAME, STILL, Grid

SURE, UNSURE = 8.0, 0.1


def halves(height: int, width: int, at: int) -> np.ndarray:
    """Log-odds: class 0 on the left, class 1 from a column on."""
    odds = np.full((height, width), -SURE, np.float32)
    odds[:, at:] = SURE
    return odds


@pytest.mark.parametrize("rules", [STILL, FRAME], ids=["still", "frame"])
@pytest.mark.parametrize(("height", "width"), [(2, 2), (3, 5), (37, 51), (64, 96), (65, 97), (2, 40)])
def test_the_chosen_stand_for_every_pixel_once(height: int, width: int, rules) -> None:
    """Masses add up to the frame, at odd sides too, and no pixel is taken twice."""
    odds = halves(height, width, width // 2)
    odds[: height // 2, : width // 3] = UNSURE

    chosen = Grid(height, width).choose(odds, None, rules)

    assert chosen.mass.sum() == height * width
    assert chosen.mass.min() >= 1
    assert (np.diff(chosen.places) > 0).all()
    assert 0 <= chosen.places.min() <= chosen.places.max() < height * width


def test_few_are_taken_where_all_is_sure() -> None:
    """One pixel of a cell of 16x16, but at the contour one of each block."""
    chosen = Grid(64, 256).choose(halves(64, 256, 128), None, FRAME)

    rows, columns = np.divmod(chosen.places, 256)
    far = np.abs(columns - 128) > 24
    assert (chosen.mass[far] == 256).all()
    assert (chosen.mass[np.abs(columns - 128) < 4] == 4).all()
    assert len(np.unique(columns[far] % 16)) > 1, "cells are staggered"
    assert len(rows) < 64 * 256 / 16


def test_the_least_sure_send_every_pixel() -> None:
    """At most a share of the blocks does."""
    odds = halves(64, 64, 32)
    odds[10:20, 10:20] = UNSURE

    chosen = Grid(64, 64).choose(odds, None, STILL)

    taken = np.zeros((64, 64), bool)
    taken.ravel()[chosen.places] = True
    assert taken[10:20, 10:20].all()
    everywhere = Grid(64, 64).choose(np.zeros((64, 64), np.float32), None, STILL)
    assert (everywhere.mass == 1).sum() <= 4 * STILL.most_whole * 32 * 32


def test_doubt_is_where_the_frame_before_says_otherwise() -> None:
    """Both are sure: the unaries of one contour, the past of another."""
    start = np.tanh(halves(64, 128, 96) / 2)

    chosen = Grid(64, 128).choose(halves(64, 128, 32), start, FRAME)

    between = (chosen.places % 128 > 40) & (chosen.places % 128 < 88)
    assert (chosen.mass[between] == 4).all()


@pytest.mark.parametrize(("height", "width"), [(32, 64), (33, 65)])
def test_what_the_chosen_have_is_brought_to_all(height: int, width: int) -> None:
    """Two constant halves stay two constant halves; only beside the contour something lies between."""
    grid = Grid(height, width)
    odds = halves(height, width, 33)
    chosen = grid.choose(odds, None, FRAME)

    small, large = grid.enlarged(np.sign(odds).ravel()[chosen.places], chosen, FRAME)

    assert set(np.unique(small)) == {-1.0, 1.0}
    assert (large[:, :30] == -1).all()
    assert (large[:, 37:] == 1).all()
    again = np.zeros((height, width), bool)
    again.ravel()[grid.unsettled(small, large, chosen, FRAME)] = True
    assert not again[:, :26].any()
    again.ravel()[chosen.places] = True
    assert again[:, 32:34].all()
