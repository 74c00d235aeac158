"""Calibration error of pixels whose confidence is known."""

import math

import numpy as np
import pytest

from engines.metrics.calibration import N_BINS, calibration_counts, calibration_error, confidence_of


def test_confidence_is_the_largest_probability() -> None:
    """For two classes and for more, as softmax gives it."""
    rng = np.random.default_rng(0)
    for n_classes in (2, 5):
        logits = rng.normal(0, 3, (n_classes, 6, 7)).astype(np.float32)
        probs = np.exp(logits) / np.exp(logits).sum(axis=0)

        np.testing.assert_allclose(confidence_of(logits), probs.max(axis=0), rtol=1e-5)


def test_the_error_is_the_gap_between_confidence_and_accuracy() -> None:
    """Ten pixels at 0.9 of which eight are right, ten at 0.6 of which six are: (10 x 0.1 + 10 x 0.0) / 20."""
    confidence = np.array([[0.9] * 10, [0.6] * 10], np.float32)
    truth = np.zeros((2, 10), np.uint8)
    predicted = np.zeros((2, 10), np.uint8)
    predicted[0, :2] = 1
    predicted[1, :4] = 1

    counts = calibration_counts(confidence, predicted, truth)

    assert calibration_error(counts) == pytest.approx(0.05, abs=1e-6)


def test_counts_of_two_halves_add_up_to_those_of_the_whole() -> None:
    """So it is pooled without holding a data set; ignored pixels count nowhere."""
    rng = np.random.default_rng(1)
    confidence = rng.uniform(0.5, 1, (8, 10)).astype(np.float32)
    predicted, truth = rng.integers(0, 2, (2, 8, 10)).astype(np.uint8)
    truth[rng.random(truth.shape) < 0.2] = 255

    whole = calibration_counts(confidence, predicted, truth)
    halves = sum(calibration_counts(confidence[i], predicted[i], truth[i]) for i in (slice(0, 4), slice(4, 8)))

    np.testing.assert_allclose(whole, halves)
    assert whole[:, 0].sum() == (truth != 255).sum()
    assert calibration_error(whole) == pytest.approx(_naive(confidence, predicted, truth), abs=1e-6)


def test_nothing_counted_has_no_error() -> None:
    """nan, not a perfect zero."""
    assert math.isnan(calibration_error(np.zeros((N_BINS, 3))))


def _naive(confidence: np.ndarray, predicted: np.ndarray, truth: np.ndarray) -> float:
    kept = truth != 255
    values, right = confidence[kept], (predicted == truth)[kept]
    error = 0.0
    for number in range(N_BINS):
        inside = (values >= number / N_BINS) & (values < (number + 1) / N_BINS)
        if number == N_BINS - 1:
            inside |= values == 1
        if inside.any():
            error += abs(right[inside].mean() - values[inside].mean()) * inside.mean()
    return error
