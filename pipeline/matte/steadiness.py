"""How steady a stream's masks are, seen while it runs: now and then two neighbouring frames are compared.

The two numbers that `evaluate` gives (`engines/metrics/temporal.py`), which need no truth: how much of a mask is where
motion says it should be, and how many labels change where the picture does not. Both are of the mask that is shown,
after temporal fusion and CRF. The trap: a mask that is always empty is perfectly steady.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.geometry import fit
from engines.motion import flow_of_luma, luma, places_of
from engines.spec import EngineSpec

__all__ = ["PERIOD_NS", "LiveSteadiness", "Pair"]

PERIOD_NS = 500_000_000
"""Of the stream's own time between two looks; a look costs about 2 ms."""
LARGEST_GAP = 3
"""Frames that may have been dropped between the two of a pair."""
VISIBLE_LEVELS = 20
"""Grey levels between a pixel and what motion brought there, from which something else is seen."""
STILL_LEVELS = 2
"""Grey levels up to which a pixel of the small picture has not changed; sensor noise is averaged away there."""
ABSENT = 255
"""Of a moved label map: not seen in the frame before."""

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Pair:
    """What two neighbouring frames add to the counts; a cut between them counts like any motion."""

    still: int
    """Pixels (of the small picture) that did not change."""
    flipped: int
    """Those of them whose label did."""
    common: int
    """Pixels of the subject, or of any class but the first, in both masks; the first is moved to the second."""
    united: int
    """In either."""


class LiveSteadiness:
    """Of one stream and one engine; remembers at most one small picture and its labels."""

    def __init__(self, frame_height: int, frame_width: int, spec: EngineSpec) -> None:
        self._geometry = fit(frame_height, frame_width, spec.input)
        self._next_ns: int | None = None
        self._before: tuple[int, Labels, Labels] | None = None

    def is_due(self, pts_ns: int) -> bool:
        """Whether `look` wants this frame; of any other it may be spared."""
        if self._before is not None or self._next_ns is None:
            return True
        return not 0 <= self._next_ns - pts_ns <= PERIOD_NS

    def forget(self) -> None:
        """The next frame has no past: its source was reopened."""
        self._before = None

    def look(
        self, sequence: int, pts_ns: int, tensor_bgr: NDArray[np.uint8], alpha: Labels | None, labels: Labels | None
    ) -> Pair | None:
        """Look at a frame when it is time to.

        Args:
            tensor_bgr: (h, w, 3), what the engine saw.
            alpha, labels: (h, w), its mask, as far as the engine gives it; one of them at least.

        Returns:
            A pair's counts when this frame ends one; else None.
        """
        if not self.is_due(pts_ns):
            return None
        before, self._before = self._before, None
        small = luma(np.ascontiguousarray(self._geometry.crop(tensor_bgr)))
        mask = labels if alpha is None else alpha
        assert mask is not None, "an engine gives alpha or labels"
        size = small.shape[1], small.shape[0]
        now = np.asarray(cv2.resize(self._geometry.crop(mask), size, interpolation=cv2.INTER_NEAREST), np.uint8)
        if alpha is not None:
            now = (now > 127).view(np.uint8)
        if before is None or not 0 < sequence - before[0] <= LARGEST_GAP + 1:
            self._before = (sequence, small, now)
            self._next_ns = pts_ns + PERIOD_NS
            return None
        return _compared(before[1], before[2], small, now)


def _compared(luma_before: Labels, labels_before: Labels, luma_now: Labels, labels_now: Labels) -> Pair:
    is_still = cv2.absdiff(luma_before, luma_now) <= STILL_LEVELS
    x, y = places_of(flow_of_luma(luma_before, luma_now))
    came = cv2.remap(luma_before, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    moved = np.asarray(cv2.remap(labels_before, x, y, cv2.INTER_NEAREST, borderValue=(ABSENT,)), np.uint8)
    is_seen = (cv2.absdiff(came, luma_now) <= VISIBLE_LEVELS) & (moved != ABSENT)
    is_subject = is_seen & ((moved > 0) | (labels_now > 0))
    return Pair(
        still=int(np.count_nonzero(is_still)),
        flipped=int(np.count_nonzero(is_still & (labels_before != labels_now))),
        common=int(np.count_nonzero(is_subject & (moved == labels_now))),
        united=int(np.count_nonzero(is_subject)),
    )
