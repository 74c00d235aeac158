"""The pictures of a report are there, whatever a training left out."""

import math

import cv2
import numpy as np
import pytest

from engines.training.seen.curves import draw_confusion, draw_curves
from engines.training.seen.history import Scored, Trained

TRAINED = [Trained(step, 1 / step, {"cross_entropy": 0.2, "dice": 0.3}, {"head": 0.1}) for step in range(1, 40)]


def test_more_panels_make_a_taller_picture(tmp_path) -> None:
    """Without a validation set there is no mIoU, and no empty panel for it."""
    draw_curves(TRAINED, [Scored(20, 0.5), Scored(39, math.nan)], tmp_path / "all.png", "a run")
    draw_curves(TRAINED, [], tmp_path / "unscored.png", "a run")

    whole, unscored = (cv2.imread(str(tmp_path / name)) for name in ("all.png", "unscored.png"))
    assert whole.shape[1] == unscored.shape[1]
    assert whole.shape[0] > 1.3 * unscored.shape[0]


def test_a_loss_that_became_nan_is_still_drawn(tmp_path) -> None:
    """The curve of a failed run is what shows where it failed."""
    rows = [*TRAINED, Trained(40, math.nan, {}, {"head": 0.1})]

    draw_curves(rows, [], tmp_path / "curves.png", "a run")

    assert (tmp_path / "curves.png").is_file()


def test_curves_of_nothing_are_refused(tmp_path) -> None:
    """A caller without rows is told so instead of getting an empty picture."""
    with pytest.raises(ValueError, match="no curves"):
        draw_curves([], [], tmp_path / "curves.png", "a run")


def test_the_diagonal_of_a_good_network_is_dark(tmp_path) -> None:
    """Rows are shares of the true class: a class of ten pixels counts as much as one of a million."""
    confusion = np.array([[1_000_000, 0], [0, 10]])

    draw_confusion(confusion, ("background", "speck"), tmp_path / "confusion.png", "a run")

    picture = cv2.imread(str(tmp_path / "confusion.png"))
    dark_blue = (picture.astype(int) @ [1, 1, 1] < 220) & (picture[..., 0] > picture[..., 2] + 40)
    left, right = np.split(dark_blue[:, : dark_blue.shape[1] // 2 * 2], 2, axis=1)
    assert left.mean() > 0.05
    assert right.mean() > 0.05


def test_a_class_that_is_absent_has_an_empty_row(tmp_path) -> None:
    """No pixels, no share: nothing is divided by zero."""
    draw_confusion(np.array([[5, 0], [0, 0]]), ("a", "b"), tmp_path / "confusion.png", "a run")

    assert (tmp_path / "confusion.png").stat().st_size > 1000
