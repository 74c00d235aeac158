"""Does a network know when it is wrong: expected calibration error over pixels.

Guo et al. 2017, "On Calibration of Modern Neural Networks", eq. 3: pixels are sorted into bins by the probability of
the predicted class; the error is the gap between that confidence and the share that is right, weighted by pixels.
The trap: it is pooled over a data set, and background dominates it; compare it between engines on one set only.
"""

import numpy as np
from numpy.typing import NDArray

from engines.data import IGNORE
from engines.metrics.ratios import Floats, divided

__all__ = ["N_BINS", "calibration_counts", "calibration_error", "confidence_of"]

N_BINS = 15
"""As in the paper."""


def confidence_of(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """The softmax probability of the largest logit: (C, h, w) -> (h, w)."""
    top = logits.max(axis=0)
    if len(logits) == 2:
        return np.asarray(1 / (1 + np.exp(logits.min(axis=0) - top)), np.float32)
    total = np.zeros_like(top)
    for plane in logits:
        total += np.exp(plane - top)
    return np.asarray(1 / total, np.float32)


def calibration_counts(
    confidence: NDArray[np.float32], predicted: NDArray[np.uint8], truth: NDArray[np.uint8]
) -> Floats:
    """(bins, 3): pixels, their summed confidence, how many of them are right; 255 is left out."""
    bins = np.minimum(confidence * N_BINS, N_BINS - 1).astype(np.uint8)
    bins[truth == IGNORE] = N_BINS
    # Right and wrong pixels of a bin are two places of one histogram.
    places = (bins * 2 + (predicted == truth)).ravel()
    pixels = np.bincount(places, minlength=2 * N_BINS + 2).reshape(-1, 2)
    sums = np.bincount(places, weights=confidence.ravel(), minlength=2 * N_BINS + 2).reshape(-1, 2)
    return np.stack([pixels.sum(1), sums.sum(1), pixels[:, 1]], axis=1)[:N_BINS].astype(np.float64)


def calibration_error(counts: Floats) -> float:
    """ECE in 0..1 of summed counts; nan without a pixel."""
    pixels, confidence, right = counts.T
    if not pixels.sum():
        return float("nan")
    gaps = np.abs(np.nan_to_num(divided(right, pixels)) - np.nan_to_num(divided(confidence, pixels)))
    return float((gaps * pixels).sum() / pixels.sum())
