"""What a stream's CRF remembers: the frame before, refined. Where nothing new is seen, mean field starts from there.

Steps of mean field add up over frames, so that two a frame do where a single picture wants ten. The trap: mean field
keeps what it started from, even against its unaries where a large patch agrees with itself; one wrong frame would stay
for ever. So the past counts only where motion explains the picture and the unaries do not say something else, and never
across a cut.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.motion import Image, Planes, flow_of_luma, luma, places_of

__all__ = ["Memory", "Unaries", "shrunk"]

ERROR_LEVELS = 18
"""Grey levels between a pixel and what motion brought there, from which something else is seen."""
CONTRADICTION = 0.2
"""By how much the unaries' class must lead the remembered one (probabilities) for the past to be dropped there."""
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
            unaries: what the frame would start from without a past.

        Returns:
            (n_planes, h, w) float32: what was kept, where motion has brought it, and `unaries` where something else
            is seen, or they say something else; None without a past.
        """
        before, refined = self._luma, self._refined
        self._now = now = luma(image_bgr)
        if before is None or refined is None or before.shape != now.shape or len(refined) != n_planes:
            return None
        x, y = places_of(flow_of_luma(before, now))
        came = cv2.remap(before, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        is_new = cv2.blur(cv2.absdiff(came, now), (3, 3)) > ERROR_LEVELS
        if np.count_nonzero(is_new) > CUT_SHARE * is_new.size:
            return None
        small = np.empty_like(refined)
        for plane, moved in zip(refined, small, strict=True):
            cv2.remap(plane, x, y, cv2.INTER_LINEAR, dst=moved, borderMode=cv2.BORDER_REPLICATE)
        fresh = unaries(*now.shape)
        is_fresh = is_new | _contradicted(small, fresh)
        for plane, other in zip(small, fresh, strict=True):
            np.copyto(plane, other, where=is_fresh)
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


def _contradicted(remembered: Planes, fresh: Planes) -> NDArray[np.bool_]:
    """(C, h, w) both, or (1, h, w) of Q_1 - Q_0: (h, w), where `fresh` clearly says another class."""
    if len(fresh) == 1:
        says_other = remembered[0] * fresh[0] < 0
        is_other: NDArray[np.bool_] = np.logical_and(says_other, np.abs(fresh[0]) > np.float32(CONTRADICTION))
        return is_other
    kept = np.take_along_axis(fresh, remembered.argmax(axis=0)[None], axis=0)[0]
    is_led: NDArray[np.bool_] = fresh.max(axis=0) - kept > np.float32(CONTRADICTION)
    return is_led


def shrunk(planes: Planes, height: int, width: int) -> Planes:
    """(C, h, w) brought to (C, height, width); a fresh array."""
    small = np.empty((len(planes), height, width), np.float32)
    for plane, target in zip(planes, small, strict=True):
        cv2.resize(plane, (width, height), dst=target, interpolation=cv2.INTER_AREA)
    return small
