"""Scores of label maps: IoU, accuracy, boundary F, trimap bands, calibration, steadiness over time, intervals.

Each file holds one score as counts of one image and a formula over summed counts; `Tally` adds them up, so no
data set is ever held in memory. The trap: everything is pooled over the pixels of a data set before dividing; the
mean over images is another number.
"""

from engines.metrics.boundary import BAND_PX, BOUNDARY_PX, RADII_PX
from engines.metrics.compared import AGREEMENT_BAND_PX, Agreement, Comparison
from engines.metrics.tally import METRICS, Counts, Metric, Scores, Tally
from engines.metrics.temporal import Steadiness, TemporalTally

__all__ = [
    "AGREEMENT_BAND_PX",
    "BAND_PX",
    "BOUNDARY_PX",
    "METRICS",
    "RADII_PX",
    "Agreement",
    "Comparison",
    "Counts",
    "Metric",
    "Scores",
    "Steadiness",
    "Tally",
    "TemporalTally",
]
