"""Confusion matrices, and the ratios that are made of summed counts.

The trap: a class that occurs nowhere has no IoU (nan) and is left out of the mean, it is not 0 and not 1.
All functions take any number of leading dimensions, so one call scores a thousand bootstrap resamples.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "Ints", "confusion_of", "divided", "f_of", "iou_of", "mean_of"]

EXACT_IN_FLOAT32 = 1 << 24

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def confusion_of(predicted: NDArray[np.uint8], truth: NDArray[np.uint8], n_classes: int) -> Ints:
    """(C, C) counts of pixels, row: true class, column: predicted; true values of C and more are left out.

    Args:
        predicted: values below `n_classes` where the truth's are.
        truth: of the same shape.
    """
    # One table look-up a pixel: what is no class lands behind the end of the table that is kept.
    n_pairs = n_classes * n_classes
    if n_pairs + n_classes <= 256 and 0 < truth.size < EXACT_IN_FLOAT32:
        # OpenCV counts bytes five times as fast.
        known = np.minimum(truth, np.uint8(n_classes))
        places = np.ascontiguousarray(known * np.uint8(n_classes) + np.minimum(predicted, np.uint8(n_classes - 1)))
        counted = cv2.calcHist([places.reshape(1, -1)], [0], None, [256], [0, 256])
        return counted[:n_pairs].reshape(n_classes, n_classes).astype(np.int64)
    pairs = truth.astype(np.uint16) * np.uint16(n_classes) + predicted
    counted = np.bincount(pairs.ravel(), minlength=n_classes * n_classes)[: n_classes * n_classes]
    return counted.reshape(n_classes, n_classes).astype(np.int64)


def iou_of(hits: NDArray[Any], predicted: NDArray[Any], true: NDArray[Any]) -> Floats:
    """Intersection over union from pixels that are both, that are predicted, and that are true."""
    return divided(hits, predicted + true - hits)


def f_of(matched: NDArray[Any]) -> Floats:
    """F1 of boundary counts (..., 4): predicted and right, predicted, true and found, true.

    Drawn nowhere although it was there, or the other way round, is 0; where it is neither drawn nor there, nan.
    """
    precision = np.nan_to_num(divided(matched[..., 0], matched[..., 1]))
    recall = np.nan_to_num(divided(matched[..., 2], matched[..., 3]))
    f = np.nan_to_num(divided(2 * precision * recall, precision + recall))
    return np.where(matched[..., 1] + matched[..., 3] > 0, f, np.nan)


def divided(numerator: NDArray[Any], denominator: NDArray[Any]) -> Floats:
    """nan where the denominator is 0."""
    out = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=out, where=np.asarray(denominator) > 0)
    return out


def mean_of(values: Floats) -> Floats:
    """Mean over the last dimension without what is nan; nan where all of it is."""
    is_known = ~np.isnan(values)
    return divided(np.where(is_known, values, 0.0).sum(-1), is_known.sum(-1))
