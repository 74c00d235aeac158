"""Scores against cases counted by hand."""

import math

import numpy as np
import pytest

from engines.metrics import Tally

CLASSES = ("background", "person")


def _map(*rows: str) -> np.ndarray:
    return np.array([[255 if mark == "x" else int(mark) for mark in row] for row in rows], np.uint8)


def test_iou_and_accuracy_of_a_case_counted_by_hand() -> None:
    """Two of four person pixels found and one too many: IoU 2/5, background 3/6, five of eight right."""
    tally = Tally(CLASSES)

    tally.add(_map("1100", "1000"), _map("0110", "1001"))
    scores = tally.scores()

    # Predicted 3, true 4, both 2 -> union 5; background: predicted 5, true 4, both 3 -> union 6.
    assert scores.iou == pytest.approx({"background": 3 / 6, "person": 2 / 5})
    assert scores.miou == pytest.approx((0.5 + 0.4) / 2)
    assert scores.pixel_accuracy == pytest.approx(5 / 8)


def test_scores_are_pooled_over_pixels_not_averaged_over_images() -> None:
    """A large image weighs more than a small one."""
    tally = Tally(CLASSES)

    tally.add(np.ones((10, 10), np.uint8), np.ones((10, 10), np.uint8))
    tally.add(_map("0"), _map("1"))

    assert tally.scores().iou["person"] == pytest.approx(100 / 101)
    assert tally.scores().n_images == 2


def test_ignored_pixels_count_nowhere() -> None:
    """What is labelled 255 may be predicted as anything."""
    tally = Tally(CLASSES)

    tally.add(_map("1110"), _map("1xx0"))

    assert tally.scores().iou == {"background": 1.0, "person": 1.0}
    assert tally.confusion.sum() == 2


def test_a_class_that_never_occurs_has_no_score() -> None:
    """It is nan and left out of the mean, not 0 and not 1."""
    tally = Tally(("background", "person", "dog"))

    tally.add(_map("01"), _map("01"))
    scores = tally.scores()

    assert math.isnan(scores.iou["dog"])
    assert math.isnan(scores.boundary_f["dog"])
    assert scores.miou == 1.0


@pytest.mark.parametrize(("shift_px", "expected"), [(0, 1.0), (2, 1.0), (4, None)])
def test_boundary_f_forgives_two_pixels(shift_px: int, expected: float | None) -> None:
    """A square moved by two pixels is still right at its boundary; by four it is not."""
    truth = np.zeros((40, 40), np.uint8)
    truth[10:30, 10:30] = 1
    tally = Tally(CLASSES)

    tally.add(np.roll(truth, shift_px, axis=1), truth)
    f = tally.scores().boundary_f["person"]

    if expected is None:
        assert 0.3 < f < 0.75  # top and bottom still match, left and right do not
    else:
        assert f == pytest.approx(expected)


def test_a_class_that_is_never_found_has_boundary_f_zero() -> None:
    """Missing it wholly is wrong everywhere, not undefined."""
    truth = np.zeros((20, 20), np.uint8)
    truth[5:15, 5:15] = 1
    tally = Tally(CLASSES)

    tally.add(np.zeros_like(truth), truth)

    assert tally.scores().boundary_f["person"] == 0.0


def test_label_maps_of_different_sizes_are_refused() -> None:
    """Scoring them would need a guess about how they lie on each other."""
    with pytest.raises(ValueError, match="differ in size"):
        Tally(CLASSES).add(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8))
