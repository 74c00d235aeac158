"""Whether an engine contradicts the memory again and again in one direction: slow motion does, flicker does not.

The tracking signal of adaptive smoothing (Trigg and Leach, 1967): the mean of the signed differences, divided by the
mean of their sizes. It is near 0 for noise and 1 for a memory that lags. The trap that it is for: something that moves
by half a pixel a frame changes too little, in picture and logits, for any single frame to show it; without this a slow
mover's mask stayed 2 px of the engine's input behind.
"""

import cv2
import numpy as np

from engines.motion import Plane, Planes

__all__ = ["Drift"]

SHARE = 0.2
"""Weight of the newest difference in both means."""
NEGLIGIBLE = 0.15
"""Differences of the margin far below this are no drift, however steady."""


class Drift:
    """Remembers both means of one stream."""

    def __init__(self) -> None:
        self._signed: Planes = np.empty((0, 0, 0), np.float32)
        self._size: Plane = np.empty((0, 0), np.float32)

    def reset(self) -> None:
        """Nothing was contradicted yet."""
        self._signed = np.empty((0, 0, 0), np.float32)

    def signal(self, difference: Planes) -> Plane:
        """Take the next differences in.

        Args:
            difference: (C, h, w) float32, logits less remembered logits.

        Returns:
            (h, w) float32 in 0..1; a fresh array.
        """
        if self._signed.shape != difference.shape:
            self._signed = np.zeros_like(difference)
            self._size = np.zeros(difference.shape[1:], np.float32)
        # Spreads over the classes are taken, so what is added to all of them alike does not count.
        cv2.accumulateWeighted(spread(difference), self._size, SHARE)
        for plane, mean in zip(difference, self._signed, strict=True):
            cv2.accumulateWeighted(plane, mean, SHARE)
        signal: Plane = np.divide(spread(self._signed), self._size + np.float32(NEGLIGIBLE), dtype=np.float32)
        return signal


def spread(planes: Planes) -> Plane:
    """(C, h, w) to (h, w): largest less smallest; with two classes the size of the margin. A fresh array."""
    if len(planes) == 2:
        return np.asarray(cv2.absdiff(planes[0], planes[1]), np.float32)
    found: Plane = np.subtract(planes.max(axis=0), planes.min(axis=0), dtype=np.float32)
    return found
