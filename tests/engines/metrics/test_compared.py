"""Two label maps an image, counted by hand."""

import numpy as np
import pytest

from engines.metrics import Comparison

CLASSES = ("background", "person")


def _map(*rows: str) -> np.ndarray:
    return np.array([[255 if mark == "x" else int(mark) for mark in row] for row in rows], np.uint8)


def test_agreement_and_difference_of_a_case_counted_by_hand() -> None:
    """Seven of eight pixels agree; the second finds one person pixel more, rightly."""
    comparison = Comparison(CLASSES)

    comparison.take(comparison.count(_map("1100", "0000"), _map("1110", "0000"), _map("1110", "0000")))
    found = comparison.agreement()

    assert found.agreement == pytest.approx(7 / 8)
    assert found.first.iou["person"] == pytest.approx(2 / 3)
    assert found.second.iou["person"] == 1.0
    assert found.miou_difference == pytest.approx(1 - (2 / 3 + 5 / 6) / 2)


def test_the_band_is_around_the_firsts_contours() -> None:
    """A disagreement far from any contour lowers the whole, not the band."""
    first = np.zeros((20, 60), np.uint8)
    first[:, :10] = 1
    second = first.copy()
    second[:, 50:] = 1
    comparison = Comparison(CLASSES)

    comparison.take(comparison.count(first, second, first))
    found = comparison.agreement()

    assert found.agreement == pytest.approx(50 / 60)
    assert found.band_agreement == 1.0


def test_the_same_predictions_differ_by_nothing_surely() -> None:
    """The paired interval has no width, however much the images differ."""
    rng = np.random.default_rng(0)
    comparison = Comparison(CLASSES)
    for _ in range(8):
        predicted, truth = rng.integers(0, 2, (2, 6, 9)).astype(np.uint8)
        comparison.take(comparison.count(predicted, predicted, truth))

    found = comparison.agreement()

    assert found.agreement == 1.0
    assert found.miou_difference == 0.0
    assert found.difference_interval == (0.0, 0.0)


def test_a_paired_difference_is_surer_than_two_scores() -> None:
    """Images of very different difficulty, on each of which the second is a little better: the interval is above 0."""
    comparison = Comparison(CLASSES)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        truth = np.zeros((20, 20), np.uint8)
        truth[:, 10:] = 1
        wrong = rng.random(truth.shape) < seed / 25
        first = np.where(wrong, 1 - truth, truth).astype(np.uint8)
        second = first.copy()
        second[0] = truth[0]
        first[0] = 1 - truth[0]
        comparison.take(comparison.count(first, second, truth))

    low, high = comparison.agreement().difference_interval

    assert 0 < low < high


def test_nothing_to_compare_is_an_error() -> None:
    """Agreement over no picture would be read as one."""
    with pytest.raises(ValueError, match="no pictures"):
        Comparison(CLASSES).agreement()
