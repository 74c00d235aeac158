"""Two engines on the same pictures: how far they agree, and whether one is better.

The interval of the difference draws images for both together (a paired bootstrap): most of what makes a picture hard
is hard for both, so the difference is surer than the two scores.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.metrics.boundary import contour_band
from engines.metrics.intervals import Interval, bootstrap
from engines.metrics.ratios import Floats, Ints, iou_of, mean_of
from engines.metrics.tally import Counts, Scores, Tally, row_of

__all__ = ["AGREEMENT_BAND_PX", "Agreement", "Comparison"]

AGREEMENT_BAND_PX = 4
"""The boundary band of an agreement: so far on each side of a contour of the first."""


@dataclass(frozen=True)
class Agreement:
    """What two engines say of the same pixels."""

    first: Scores
    second: Scores
    agreement: float
    """Share of all pixels with the same label, ignored ones too."""
    band_agreement: float
    """The same within `AGREEMENT_BAND_PX` of a contour of the first."""
    miou_difference: float
    """Second less first."""
    difference_interval: Interval
    """95 %, paired over images."""


class Comparison:
    """Adds up two label maps an image."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.tallies = (Tally(classes), Tally(classes))
        self.rows: list[Ints] = []
        self.agreeing = np.zeros((2, 2), np.int64)
        """All pixels and the band: same, counted."""

    def count(
        self, first: NDArray[np.uint8], second: NDArray[np.uint8], truth: NDArray[np.uint8]
    ) -> tuple[Counts, Counts, Ints]:
        """Counts of one image; changes nothing. All (height, width)."""
        is_same = first == second
        band = contour_band(first, AGREEMENT_BAND_PX)
        agreeing = np.array(
            [[np.count_nonzero(is_same), is_same.size], [np.count_nonzero(is_same & band), np.count_nonzero(band)]],
            np.int64,
        )
        return self.tallies[0].count(first, truth), self.tallies[1].count(second, truth), agreeing

    def take(self, counts: tuple[Counts, Counts, Ints]) -> None:
        """Add the counts of one image."""
        for tally, one in zip(self.tallies, counts[:2], strict=True):
            tally.take(one)
        self.rows.append(np.concatenate([row_of(one) for one in counts[:2]]))
        self.agreeing += counts[2]

    def agreement(self) -> Agreement:
        """Of what was added.

        Raises:
            ValueError: nothing was.
        """
        if not self.rows:
            raise ValueError("there are no pictures to compare on")
        first, second = (tally.scores() for tally in self.tallies)
        half = len(self.rows[0]) // 2
        n = len(self.tallies[0].classes)

        def difference(pooled: Ints) -> Floats:
            return (_miou(pooled[:, half:], n) - _miou(pooled[:, :half], n))[:, None]

        whole, band = self.agreeing
        return Agreement(
            first,
            second,
            agreement=float(whole[0] / whole[1]),
            band_agreement=float(band[0] / band[1]) if band[1] else float("nan"),
            miou_difference=second.miou - first.miou,
            difference_interval=bootstrap(np.stack(self.rows), difference)[0],
        )


def _miou(rows: Ints, n_classes: int) -> Floats:
    return mean_of(iou_of(*(rows[:, i * n_classes : (i + 1) * n_classes] for i in range(3))))
