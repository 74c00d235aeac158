"""Scores of label maps: IoU per class, mIoU, pixel accuracy, boundary F.

Everything is pooled over the pixels of a data set before dividing; the mean over images is another number.
The trap: a class that occurs nowhere has no IoU (nan) and is left out of the mean, it is not 0 and not 1.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.data import IGNORE

__all__ = ["BOUNDARY_PX", "Scores", "Tally"]

BOUNDARY_PX = 2
"""A boundary pixel is right when the other boundary passes within this distance."""


@dataclass(frozen=True)
class Scores:
    """Results over a data set; every value in 0..1, nan where a class never occurs."""

    iou: dict[str, float]
    boundary_f: dict[str, float]
    miou: float
    pixel_accuracy: float
    mean_boundary_f: float
    n_images: int


class Tally:
    """Counts label maps against the truth, image by image."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.classes = classes
        n = len(classes)
        self.confusion = np.zeros((n, n), np.int64)
        """Row: true class; column: predicted."""
        self.boundary = np.zeros((n, 4), np.int64)
        """Per class: predicted and right, predicted, true and found, true boundary pixels."""
        self.n_images = 0

    def add(self, predicted: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
        """Count one image; both (height, width), 255 in the truth is ignored.

        Raises:
            ValueError: the shapes differ.
        """
        if predicted.shape != truth.shape:
            raise ValueError(f"predicted {predicted.shape} and true labels {truth.shape} differ in size")
        is_counted = truth != IGNORE
        n = len(self.classes)
        pairs = truth[is_counted].astype(np.int64) * n + predicted[is_counted]
        self.confusion += np.bincount(pairs, minlength=n * n).reshape(n, n)
        for index in range(n):
            self.boundary[index] += _matched(predicted == index, truth == index, is_counted)
        self.n_images += 1

    def scores(self) -> Scores:
        """The pooled scores of what was added."""
        hits = np.diag(self.confusion)
        union = self.confusion.sum(0) + self.confusion.sum(1) - hits
        iou = _divided(hits, union)
        precision = _divided(self.boundary[:, 0], self.boundary[:, 1])
        recall = _divided(self.boundary[:, 2], self.boundary[:, 3])
        both = np.nan_to_num(precision) + np.nan_to_num(recall)
        f = _divided(2 * np.nan_to_num(precision) * np.nan_to_num(recall), both)
        # Drawn nowhere although it was there, or the other way round: wrong everywhere, not undefined.
        occurs = (self.boundary[:, 1] + self.boundary[:, 3]) > 0
        f = np.where(occurs, np.nan_to_num(f), np.nan)
        return Scores(
            iou=dict(zip(self.classes, map(float, iou), strict=True)),
            boundary_f=dict(zip(self.classes, map(float, f), strict=True)),
            miou=_mean(iou),
            pixel_accuracy=float(hits.sum() / max(1, self.confusion.sum())),
            mean_boundary_f=_mean(f),
            n_images=self.n_images,
        )


def _matched(
    predicted: NDArray[np.bool_], truth: NDArray[np.bool_], is_counted: NDArray[np.bool_]
) -> tuple[int, int, int, int]:
    if not predicted.any() and not truth.any():
        return (0, 0, 0, 0)
    drawn, true = _boundary(predicted) & is_counted, _boundary(truth) & is_counted
    near_true, near_drawn = _grown(true), _grown(drawn)
    return int((drawn & near_true).sum()), int(drawn.sum()), int((true & near_drawn).sum()), int(true.sum())


def _boundary(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of the mask with a 4-neighbour outside it; the picture's edge is no boundary."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inner = cv2.erode(mask.astype(np.uint8), cross)
    boundary: NDArray[np.bool_] = mask & (inner == 0)
    return boundary


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    offsets = np.arange(-BOUNDARY_PX, BOUNDARY_PX + 1)
    disc = (offsets[:, None] ** 2 + offsets[None] ** 2 <= BOUNDARY_PX**2).astype(np.uint8)
    return np.asarray(cv2.dilate(mask.astype(np.uint8), disc), np.bool_)


def _divided(numerator: NDArray[np.generic], denominator: NDArray[np.generic]) -> NDArray[np.float64]:
    out = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=out, where=np.asarray(denominator) > 0)
    return out


def _mean(values: NDArray[np.float64]) -> float:
    return float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")
