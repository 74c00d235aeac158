"""How steady predictions are over time, on frames that follow one another.

Two numbers, both without labels. `warped_miou`: the prediction of the frame before, moved along the optical flow (DIS,
Kroeger et al. 2016), against this frame's prediction (as Liu et al. 2020, "Efficient Semantic Video Segmentation with
Per-Frame Inference", section 4.1). `flip_share`: of the pixels where the picture does not change, how many change
their label. The trap: a network that always says background is perfectly steady, so neither stands alone; and flow is
not exact, so the same numbers of the true labels are given as the ceiling.
"""

import re
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.data import IGNORE
from engines.metrics.ratios import Ints, confusion_of, divided, iou_of, mean_of
from engines.motion import FINEST, PATCH_PX

__all__ = ["Steadiness", "TemporalTally", "follows"]

VISIBLE_STEP = 20
"""Grey values a pixel may differ from where the flow says it comes from; more, and it was hidden or the flow errs."""
STILL_STEP = 2
"""Grey values, after a 5x5 mean, up to which a pixel has not changed: sensor noise stays below."""
LARGEST_GAP = 3
"""Numbers in the names of two frames may differ by so much; more is another shot."""

Labels = NDArray[np.uint8]
NUMBERED = re.compile(r"(.*?)(\d+)")


@dataclass(frozen=True)
class Steadiness:
    """Temporal scores over all pairs of neighbouring frames; in 0..1, nan without such a pair."""

    warped_miou: float
    """Higher is steadier."""
    flip_share: float
    """Lower is steadier."""
    true_warped_miou: float
    """Of the true labels: what flow alone costs."""
    true_flip_share: float
    n_pairs: int


class TemporalTally:
    """Takes frames in their order and remembers one."""

    def __init__(self, n_classes: int) -> None:
        self.n_classes = n_classes
        self.warped: Ints = np.zeros((2, n_classes, n_classes), np.int64)
        """Of predictions and of true labels: row, frame before (moved); column, this frame."""
        self.flips: Ints = np.zeros((2, 2), np.int64)
        """Of predictions and of true labels: changed labels, still pixels."""
        self.n_pairs = 0
        self._before: tuple[str, Labels, Labels, Labels] | None = None
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def add(self, name: str, image_bgr: NDArray[np.uint8], predicted: Labels, truth: Labels) -> None:
        """The next frame; `name` ends in its number, and the first frame of a shot only starts it."""
        grey = np.asarray(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY), np.uint8)
        before, self._before = self._before, (name, grey, predicted, truth)
        if before is None or before[1].shape != grey.shape or not follows(before[0], name):
            return
        moved_from, is_visible = self._moves(before[1], grey)
        is_still = cv2.absdiff(cv2.blur(before[1], (5, 5)), cv2.blur(grey, (5, 5))) <= STILL_STEP
        for place, (old, now) in enumerate(((before[2], predicted), (before[3], truth))):
            moved = np.asarray(cv2.remap(old, *moved_from, cv2.INTER_NEAREST, borderValue=(IGNORE,)), np.uint8)
            moved[~is_visible | (now == IGNORE)] = IGNORE
            self.warped[place] += confusion_of(now, moved, self.n_classes)
            is_compared = is_still & (old != IGNORE) & (now != IGNORE)
            self.flips[place] += (np.count_nonzero(is_compared & (old != now)), np.count_nonzero(is_compared))
        self.n_pairs += 1

    def steadiness(self) -> Steadiness:
        """Pooled over what was added."""
        hits = np.diagonal(self.warped, axis1=1, axis2=2)
        predicted, true = mean_of(iou_of(hits, self.warped.sum(1), self.warped.sum(2)))
        flips, true_flips = divided(self.flips[:, 0], self.flips[:, 1])
        return Steadiness(float(predicted), float(flips), float(true), float(true_flips), self.n_pairs)

    def _moves(
        self, before: Labels, now: Labels
    ) -> tuple[tuple[NDArray[np.float32], NDArray[np.float32]], NDArray[np.bool_]]:
        """Where each pixel of this frame was in the one before, as x and y (h, w), and whether it was seen there."""
        flow = np.zeros((*now.shape, 2), np.float32)
        if min(now.shape) >= PATCH_PX << FINEST:
            flow = np.asarray(self._flow.calc(now, before, flow), np.float32)
        height, width = now.shape
        x = np.asarray(flow[..., 0] + np.arange(width), np.float32)
        y = np.asarray(flow[..., 1] + np.arange(height)[:, None], np.float32)
        is_inside = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
        came = cv2.remap(before, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return (x, y), is_inside & (cv2.absdiff(came, now) <= VISIBLE_STEP)


def follows(before: str, name: str) -> bool:
    """Whether two names are neighbours of one shot: the same words, and numbers that hardly differ.

    >>> follows("walk_0007", "walk_0008"), follows("walk_0007", "talk_0008"), follows("walk_0007", "walk_0107")
    (True, False, False)
    """
    old, now = NUMBERED.fullmatch(before), NUMBERED.fullmatch(name)
    if old is None or now is None:
        return False
    return old[1] == now[1] and 0 < int(now[2]) - int(old[2]) <= LARGEST_GAP
