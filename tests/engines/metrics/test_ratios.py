"""Counting pixels by their true and their predicted class."""

import numpy as np
import pytest

from engines.metrics.ratios import confusion_of


@pytest.mark.parametrize("n_classes", [2, 15, 16, 21])
def test_every_pixel_of_a_known_class_is_counted_once(n_classes: int) -> None:
    """Few classes and many are counted in two ways; both leave out 255 and whatever else is no class."""
    random = np.random.default_rng(0)
    truth = random.integers(0, n_classes, (31, 47)).astype(np.uint8)
    predicted = random.integers(0, n_classes, truth.shape).astype(np.uint8)
    truth[:3], truth[3] = 255, n_classes
    truth[4] = 128

    counts = confusion_of(predicted, truth, n_classes)

    expected = np.zeros((n_classes, n_classes), int)
    known = truth < n_classes
    np.add.at(expected, (truth[known], predicted[known]), 1)
    np.testing.assert_array_equal(counts, expected)


def test_nothing_is_counted_where_nothing_is() -> None:
    """An empty window around contours has no pixels."""
    assert not confusion_of(np.empty((0, 0), np.uint8), np.empty((0, 0), np.uint8), 2).any()
