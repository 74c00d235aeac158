"""One pass over a data set: counts of each image, added up, and the scores of the sums.

`count` is a pure function, so several threads may count at once; `take` adds, in order, by one thread.
The trap: bootstrap intervals need the counts of each image apart: some hundred bytes an image are kept, no pixels.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from engines.metrics.boundary import BAND_PX, BOUNDARY_PX, RADII_PX, band_confusions, matched_boundaries
from engines.metrics.calibration import N_BINS, calibration_counts, calibration_error, confidence_of
from engines.metrics.intervals import Interval, bootstrap
from engines.metrics.ratios import Floats, Ints, confusion_of, divided, f_of, iou_of, mean_of
from engines.metrics.temporal import Steadiness

__all__ = ["METRICS", "Counts", "Metric", "Scores", "Tally", "row_of", "scores_of_rows"]

Metric = Literal["boundary", "trimap", "calibration", "intervals", "temporal"]
"""What is measured beside IoU and pixel accuracy."""
METRICS: tuple[Metric, ...] = get_args(Metric)

DEFAULT: tuple[Metric, ...] = ("boundary",)

BOUNDARY_PLACE = RADII_PX.index(BOUNDARY_PX)


@dataclass(frozen=True)
class Scores:
    """Results over a data set; every value in 0..1, nan where a class never occurs or nothing was measured."""

    iou: dict[str, float]
    boundary_f: dict[str, float]
    """Per class, within `BOUNDARY_PX`."""
    miou: float
    pixel_accuracy: float
    mean_boundary_f: float
    n_images: int
    boundary_f_at: dict[int, float] = field(default_factory=dict)
    """Mean over classes, by radius in pixels."""
    trimap_miou: dict[int, float] = field(default_factory=dict)
    """mIoU of the band around true contours, by its width on each side in pixels."""
    calibration_error: float = float("nan")
    """ECE with 15 bins."""
    intervals: dict[str, Interval] = field(default_factory=dict)
    """95 % bootstrap intervals of `miou`, `pixel_accuracy`, `boundary_f` and `iou/CLASS`."""
    false_share: dict[str, float] = field(default_factory=dict)
    """Share of all counted pixels that are called the class and are not of it."""
    confusion: Ints = field(default_factory=lambda: np.zeros((0, 0), np.int64), compare=False)
    """(C, C) pixels, row: true class, column: predicted."""
    steadiness: Steadiness | None = None
    """Over time, of pictures that follow one another."""


@dataclass(frozen=True, eq=False)
class Counts:
    """What one image adds; None where it was not asked for."""

    confusion: Ints
    boundary: Ints | None
    bands: Ints | None
    calibration: Floats | None

    @property
    def miou(self) -> float:
        """Of this image alone, over the classes that occur in it or were found; nan when all is ignored."""
        return float(mean_of(_iou(self.confusion)))


class Tally:
    """Counts label maps against the truth, image by image.

    Args:
        classes: their names, in the order of the labels.
        metrics: what to count beside IoU; `temporal` is not for single pictures and counts nothing here.
    """

    def __init__(self, classes: tuple[str, ...], metrics: Collection[Metric] = DEFAULT) -> None:
        self.classes = classes
        self.metrics = frozenset(metrics)
        n = len(classes)
        self.confusion: Ints = np.zeros((n, n), np.int64)
        """Row: true class; column: predicted."""
        self.boundary: Ints = np.zeros((len(RADII_PX), n, 4), np.int64)
        """By radius and class: predicted and right, predicted, true and found, true boundary pixels."""
        self.bands: Ints = np.zeros((len(BAND_PX), n, n), np.int64)
        self.calibration: Floats = np.zeros((N_BINS, 3))
        self.per_image: list[Ints] = []
        """A row of each image for the intervals: per class hits, predicted, true, and boundary counts."""
        self.n_images = 0

    def count(
        self, predicted: NDArray[np.uint8], truth: NDArray[np.uint8], logits: NDArray[np.float32] | None = None
    ) -> Counts:
        """Counts of one image; changes nothing.

        Args:
            predicted: (height, width).
            truth: (height, width), 255 is ignored.
            logits: (C, height, width), only for `calibration`.

        Raises:
            ValueError: the shapes differ.
        """
        if predicted.shape != truth.shape:
            raise ValueError(f"predicted {predicted.shape} and true labels {truth.shape} differ in size")
        n = len(self.classes)
        calibrates = "calibration" in self.metrics and logits is not None
        confusion = confusion_of(predicted, truth, n)
        present = np.flatnonzero(confusion.sum(0) + confusion.sum(1))
        return Counts(
            confusion,
            matched_boundaries(predicted, truth, n, present) if "boundary" in self.metrics else None,
            band_confusions(predicted, truth, n) if "trimap" in self.metrics else None,
            _calibration(logits, predicted, truth) if calibrates and logits is not None else None,
        )

    def take(self, counts: Counts) -> None:
        """Add the counts of one image."""
        self.confusion += counts.confusion
        if counts.boundary is not None:
            self.boundary += counts.boundary
        if counts.bands is not None:
            self.bands += counts.bands
        if counts.calibration is not None:
            self.calibration += counts.calibration
        if "intervals" in self.metrics:
            self.per_image.append(row_of(counts))
        self.n_images += 1

    def add(
        self, predicted: NDArray[np.uint8], truth: NDArray[np.uint8], logits: NDArray[np.float32] | None = None
    ) -> Counts:
        """Count one image and add it; see `count`."""
        counts = self.count(predicted, truth, logits)
        self.take(counts)
        return counts

    def scores(self, steadiness: Steadiness | None = None) -> Scores:
        """The pooled scores of what was added."""
        iou = _iou(self.confusion)
        boundary = mean_of(f_of(self.boundary))
        predicted, hits = self.confusion.sum(0), np.diag(self.confusion)
        total = max(1, int(self.confusion.sum()))
        return Scores(
            iou=self._named(iou),
            boundary_f=self._named(f_of(self.boundary[BOUNDARY_PLACE])),
            miou=float(mean_of(iou)),
            pixel_accuracy=float(hits.sum() / total),
            mean_boundary_f=float(boundary[BOUNDARY_PLACE]),
            n_images=self.n_images,
            boundary_f_at=_by_width(RADII_PX, boundary) if "boundary" in self.metrics else {},
            trimap_miou=_by_width(BAND_PX, mean_of(_iou(self.bands))) if "trimap" in self.metrics else {},
            calibration_error=calibration_error(self.calibration),
            intervals=self._intervals(),
            false_share=self._named((predicted - hits) / total),
            confusion=self.confusion.copy(),
            steadiness=steadiness,
        )

    def _intervals(self) -> dict[str, Interval]:
        if not self.per_image:
            return {}
        n = len(self.classes)
        names = ("miou", "pixel_accuracy", "boundary_f", *(f"iou/{name}" for name in self.classes))
        found = bootstrap(np.stack(self.per_image), lambda pooled: scores_of_rows(pooled, n))
        return {name: interval for name, interval in zip(names, found, strict=True) if not np.isnan(interval[0])}

    def _named(self, values: Floats) -> dict[str, float]:
        return dict(zip(self.classes, map(float, values), strict=True))


def _calibration(logits: NDArray[np.float32], predicted: NDArray[np.uint8], truth: NDArray[np.uint8]) -> Floats:
    """Of every second pixel of every second row: neighbours are as sure as each other, and it was half of the count."""
    confidence = confidence_of(np.ascontiguousarray(logits[:, ::2, ::2]))
    return calibration_counts(confidence, predicted[::2, ::2], truth[::2, ::2])


def row_of(counts: Counts) -> Ints:
    """(7 C): per class hits, predicted, true, then the four boundary counts within `BOUNDARY_PX`."""
    confusion = counts.confusion
    boundary = np.zeros((len(confusion), 4), np.int64) if counts.boundary is None else counts.boundary[BOUNDARY_PLACE]
    return np.concatenate([np.diag(confusion), confusion.sum(0), confusion.sum(1), boundary.ravel()])


def scores_of_rows(pooled: Ints, n_classes: int) -> Floats:
    """(n, 7 C) sums of rows -> (n, 3 + C): mIoU, pixel accuracy, boundary F, IoU per class."""
    hits, predicted, true = (pooled[:, i * n_classes : (i + 1) * n_classes] for i in range(3))
    iou = iou_of(hits, predicted, true)
    boundary = mean_of(f_of(pooled[:, 3 * n_classes :].reshape(len(pooled), n_classes, 4)))
    accuracy = divided(hits.sum(1), true.sum(1))
    return np.concatenate([np.stack([mean_of(iou), accuracy, boundary], axis=1), iou], axis=1)


def _iou(confusion: Ints) -> Floats:
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    return iou_of(hits, confusion.sum(-2), confusion.sum(-1))


def _by_width(widths: tuple[int, ...], values: Floats) -> dict[int, float]:
    return dict(zip(widths, map(float, values), strict=True))
