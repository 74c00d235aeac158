"""What a stream's CRF remembers: the frame before, refined. Where nothing new is seen, mean field starts from there.

Steps of mean field add up over frames, so that two a frame do where a single picture wants ten. The trap: mean field
keeps what it started from where unaries say little, so the past counts only where motion explains the picture, and
never across a cut.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.motion import Image, Planes, flow_of_luma, luma, places_of

__all__ = ["Memory"]

ERROR_LEVELS = 18
"""Grey levels between a pixel and what motion brought there, from which something else is seen."""
CUT_SHARE = 0.6
"""When so much of the picture cannot be explained by motion, it is another shot."""


class Memory:
    """Of one stream; kept at the size at which flow is searched."""

    def __init__(self) -> None:
        self._luma: Image | None = None
        self._now: Image | None = None
        self._refined: Planes | None = None
        self.classes: NDArray[np.bool_] | None = None
        """(C,), which of many took part in the frame before (`occurring.py`)."""

    def reset(self) -> None:
        """Forget: the next frame has no past."""
        self._luma = self._refined = self.classes = None

    def start(self, probs: NDArray[np.float32], image_bgr: Image) -> NDArray[np.float32] | None:
        """Where mean field of the next frame may start.

        Args:
            probs: (C, h, w) float32, its unaries' probabilities.
            image_bgr: (h, w, 3) uint8.

        Returns:
            (C, h, w) float32: the last refined frame, moved along, and `probs` where something else is seen; None
            without a past.
        """
        came = self.moved(image_bgr, len(probs))
        if came is None:
            return None
        start, is_new = came
        if is_new is not None:
            for plane, moved in zip(probs, start, strict=True):
                cv2.copyTo(plane, is_new, moved)
        return start

    def moved(self, image_bgr: Image, n_planes: int) -> tuple[NDArray[np.float32], Image | None] | None:
        """What was kept, where motion has brought it.

        Args:
            image_bgr: (h, w, 3) uint8, the next frame.
            n_planes: that `keep` will be given for it.

        Returns:
            (n_planes, h, w) float32, and (h, w) uint8, not 0 where something else is seen, None when that is nowhere;
            None without a past.
        """
        before, refined = self._luma, self._refined
        self._now = now = luma(image_bgr)
        if before is None or refined is None or before.shape != now.shape or len(refined) != n_planes:
            return None
        x, y = places_of(flow_of_luma(before, now))
        came = cv2.remap(before, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        is_new = (cv2.blur(cv2.absdiff(came, now), (3, 3)) > ERROR_LEVELS).astype(np.uint8)
        if float(is_new.mean()) > CUT_SHARE:
            return None
        height, width = image_bgr.shape[:2]
        planes = np.empty((n_planes, height, width), np.float32)
        for plane, moved in zip(refined, planes, strict=True):
            small = cv2.remap(plane, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            cv2.resize(small, (width, height), dst=moved, interpolation=cv2.INTER_LINEAR)
        if not is_new.any():
            return planes, None
        return planes, np.asarray(cv2.resize(is_new, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)

    def keep(self, refined: NDArray[np.float32]) -> None:
        """Remember the (C, h, w) answer for the frame that `start` or `moved` was asked about."""
        assert self._now is not None, "start() or moved() comes before keep()"
        height, width = self._now.shape
        if self._refined is None or self._refined.shape != (len(refined), height, width):
            self._refined = np.empty((len(refined), height, width), np.float32)
        for plane, small in zip(refined, self._refined, strict=True):
            cv2.resize(plane, (width, height), dst=small, interpolation=cv2.INTER_AREA)
        self._luma = self._now
