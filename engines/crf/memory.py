"""What a stream's CRF remembers: the frame before, refined. Where nothing new is seen, mean field starts from there.

Steps of mean field add up over frames, so that two a frame do where a single picture wants ten. The trap: mean field
keeps what it started from where unaries say little, so the past counts only where motion explains the picture, and
never across a cut.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.motion import Image, Planes, flow_of_luma, luma, places_of

__all__ = ["Memory", "Unaries", "shrunk"]

ERROR_LEVELS = 18
"""Grey levels between a pixel and what motion brought there, from which something else is seen."""
CUT_SHARE = 0.6
"""When so much of the picture cannot be explained by motion, it is another shot."""

Unaries = Callable[[int, int], Planes]
"""Height and width to (C, height, width) float32."""


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

    def start(self, image_bgr: Image, n_planes: int, unaries: Unaries) -> NDArray[np.float32] | None:
        """Where mean field of the next frame may start.

        Args:
            image_bgr: (h, w, 3) uint8, the frame.
            n_planes: that `keep` will be given for it.
            unaries: what the frame would start from without a past; asked for when something new is seen.

        Returns:
            (n_planes, h, w) float32: what was kept, where motion has brought it, and `unaries` where something else
            is seen; None without a past.
        """
        before, refined = self._luma, self._refined
        self._now = now = luma(image_bgr)
        if before is None or refined is None or before.shape != now.shape or len(refined) != n_planes:
            return None
        x, y = places_of(flow_of_luma(before, now))
        came = cv2.remap(before, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        is_new = cv2.blur(cv2.absdiff(came, now), (3, 3)) > ERROR_LEVELS
        share = np.count_nonzero(is_new) / is_new.size
        if share > CUT_SHARE:
            return None
        small = [cv2.remap(plane, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for plane in refined]
        if share:
            for plane, fresh in zip(small, unaries(*now.shape), strict=True):
                np.copyto(plane, fresh, where=is_new)
        height, width = image_bgr.shape[:2]
        planes = np.empty((n_planes, height, width), np.float32)
        for plane, moved in zip(small, planes, strict=True):
            cv2.resize(plane, (width, height), dst=moved, interpolation=cv2.INTER_LINEAR)
        return planes

    def keep(self, refined: NDArray[np.float32]) -> None:
        """Remember the (C, h, w) answer for the frame that `start` was asked about."""
        assert self._now is not None, "start() comes before keep()"
        self._refined = shrunk(refined, *self._now.shape)
        self._luma = self._now


def shrunk(planes: Planes, height: int, width: int) -> Planes:
    """(C, h, w) brought to (C, height, width); a fresh array."""
    small = np.empty((len(planes), height, width), np.float32)
    for plane, target in zip(planes, small, strict=True):
        cv2.resize(plane, (width, height), dst=target, interpolation=cv2.INTER_AREA)
    return small
