"""Shrinks, grows and softens a matte, in pixels of the frame.

The trap: in this order. Softening first would make shrinking depend on the softness.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Outline"]

_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
_SQUARE = np.ones((3, 3), np.uint8)


class Outline:
    """Changes alphas in place; holds no memory."""

    def __init__(self, shrink_px: int, feather_px: int) -> None:
        """`shrink_px`: below 0 it grows. `feather_px`: from full to half, and from half to nothing."""
        self._shrink_px = shrink_px
        # Two means of this width and the next make a ramp without corners, `feather_px` long on both sides.
        self._sides = [2 * part + 1 for part in (feather_px // 2, feather_px - feather_px // 2) if part]

    def apply(self, alpha: NDArray[np.uint8]) -> None:
        """Change (height, width) in place."""
        change = cv2.erode if self._shrink_px > 0 else cv2.dilate
        for step in range(abs(self._shrink_px)):
            # A cross and a square in turns make an octagon, which nobody tells from a disc; a disc costs its area.
            change(alpha, _SQUARE if step % 2 else _CROSS, dst=alpha)
        for side in self._sides:
            cv2.blur(alpha, (side, side), dst=alpha, borderType=cv2.BORDER_REPLICATE)
