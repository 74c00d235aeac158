"""Fuses an engine's logits with those of the frames before: less flicker, no delay.

A recursive mean along the motion: fused = warped + weight * (now - warped). The weight is small where the picture says
that the same thing is still seen and the logits waver about what is remembered, and 1 where it does not: there the
engine's answer goes through as it is. The trap: a mean that is strong everywhere looks wonderful on a still and drags
the mask behind everything that moves.
"""

import cv2
import numpy as np

from engines.errors import EngineError, InputSizeError
from engines.motion import Image, Plane, Planes
from engines.temporal.drift import Drift, spread
from engines.temporal.watch import Watch, ramp

__all__ = ["TemporalFusion"]

LEAST_WEIGHT = 0.05
"""Weight of the present frame at stability 1, where nothing changed: a memory of about twenty frames."""
DISAGREEMENT = (1.5, 5.0)
"""Distance of the logits from the remembered ones, as the margin between two classes, from which and up to which the
engine is believed. Flicker of the person engine on still pixels is 0.5 in the median, 1.3 at the 90th percentile."""
DRIFT = (0.65, 0.95)
"""Tracking signal from which and up to which a steady contradiction is believed; see `drift.py`."""


class TemporalFusion:
    """The memory of one stream.

    Args:
        stability: 0 gives back the input, exactly; 1 is the longest memory.

    Raises:
        EngineError: a stability outside 0 to 1.
    """

    def __init__(self, stability: float) -> None:
        if not 0 <= stability <= 1:
            raise EngineError(f"stability {stability:g}; expected 0 (off) to 1 (longest memory)")
        self.stability = stability
        self.was_cut = False
        """Whether the last picture was another shot."""
        self._floor = LEAST_WEIGHT**stability
        self._watch = Watch()
        self._drift = Drift()
        self._fused: Planes = np.empty((0, 0, 0), np.float32)
        self._moved: Planes = self._fused

    def reset(self) -> None:
        """Forget everything: after a gap, a seek, another engine."""
        self._watch.reset()
        self._drift.reset()

    def fuse(self, logits: Planes, tensor_bgr: Image) -> Planes:
        """The next frame.

        Args:
            logits: (C, h, w) float32, before softmax; not changed.
            tensor_bgr: (H, W, 3) uint8, what the engine saw.

        Returns:
            (C, h, w) float32, of the fusion's own memory: valid until the next call. `logits` itself at stability 0,
            and when they hold NaN or infinity.

        Raises:
            InputSizeError: logits or picture of another shape or type.
        """
        if logits.ndim != 3 or logits.dtype != np.float32 or not logits.size:
            raise InputSizeError(f"logits are {logits.dtype} {logits.shape}, expected float32 (C, h, w)")
        if self.stability == 0:
            return logits
        if not np.isfinite(logits).all():
            # One frame of nonsense may pass, as it would without a memory; it must not stay in it.
            self.reset()
            return logits
        if self._fused.shape != logits.shape:
            self.reset()
            self._fused = np.empty_like(logits)
            self._moved = np.empty_like(logits)
        moved = self._watch.see(tensor_bgr, *logits.shape[1:])
        self.was_cut = moved is not None and moved.is_cut
        if moved is None or moved.is_cut:
            self._drift.reset()
            np.copyto(self._fused, logits)
            return self._fused
        for plane, target in zip(self._fused, self._moved, strict=True):
            cv2.remap(plane, moved.x, moved.y, cv2.INTER_LINEAR, dst=target, borderMode=cv2.BORDER_REPLICATE)
        difference = np.subtract(logits, self._moved, out=self._fused)
        weight = ramp(_disagreement(difference), *DISAGREEMENT)
        np.maximum(weight, moved.change, out=weight)
        np.maximum(weight, ramp(self._drift.signal(difference), *DRIFT), out=weight)
        np.maximum(weight, self._floor, out=weight)
        np.multiply(difference, weight, out=self._fused)
        self._fused += self._moved
        return self._fused


def _disagreement(difference: Planes) -> Plane:
    """(C, h, w) to (h, w): how far margins between classes moved, mean of 3x3 so that one pixel is no evidence."""
    return np.asarray(cv2.blur(spread(difference), (3, 3)), np.float32)
