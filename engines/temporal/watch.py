"""Where the past says nothing about now: the evidence that fusion needs, from two pictures alone.

Four signs, each a ramp from 0 to 1, and the strongest counts: the picture differs from what motion would have brought
(photometric error), looking ahead and back disagree (occlusion), the pixel comes from outside, or it moves fast. The
trap: in flat parts flow wanders by fractions of a pixel, and following it would smear what stands still; so slow
motion is taken for none.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.motion import FINEST, Flow, Image, Plane, flow_of_luma, grey_of, places_of, resized, shrunk

__all__ = ["Moved", "Watch"]

ERROR_LEVELS = (6.0, 18.0)
"""Grey levels of photometric error, mean of 3x3 pixels of the logits' grid: below the first it is noise, above the
second another thing is seen. Sensor noise of sigma 6 leaves less than 1 after these means."""
RETURN_PX = (0.5, 1.5)
"""Distance, on the logits' grid, between a pixel and where going back and forth along the flow ends."""
SPEED_PX = (0.5, 2.0)
"""Pixels of the logits' grid a frame: 2 and 8 of the engine's input. What is faster is never averaged."""
REST_PX = (0.25, 0.5)
"""Slower than the first is standing still; between them the flow is let in gradually."""
CUT_SHARE = 0.6
"""When so much of the picture cannot be explained by motion, it is another shot."""


@dataclass(frozen=True)
class Moved:
    """What became of the picture since the frame before, on the logits' grid."""

    x: Plane
    """(h, w) where each pixel was, as `cv2.remap` takes it."""
    y: Plane
    change: Plane
    """(h, w) in 0..1; 0: the same thing is seen, 1: the past says nothing."""
    is_cut: bool


class Watch:
    """Looks at the pictures of one stream in their order and remembers one."""

    def __init__(self) -> None:
        self._before: tuple[Image, Image] | None = None

    def reset(self) -> None:
        """Forget: the next picture has no past."""
        self._before = None

    def see(self, tensor_bgr: Image, height: int, width: int) -> Moved | None:
        """The next picture.

        Args:
            tensor_bgr: (H, W, 3) uint8, what the engine saw.
            height: of the logits.
            width: of the logits.

        Returns:
            What moved; None for the first picture, and after one of another size.
        """
        small = shrunk(tensor_bgr)
        on_grid = _on_grid(small, height, width)
        is_half = small.shape[:2] == (2 * height, 2 * width)
        now = (grey_of(on_grid if is_half else small), on_grid)
        before, self._before = self._before, now
        if before is None or before[0].shape != now[0].shape or before[1].shape != now[1].shape:
            return None
        finest = FINEST - 1 if is_half else FINEST
        back = resized(flow_of_luma(before[0], now[0], finest), height, width)
        ahead = resized(flow_of_luma(now[0], before[0], finest), height, width)
        speed = _length(back)
        at_rest = ramp(speed, *REST_PX)
        back = np.asarray(cv2.multiply(back, cv2.merge([at_rest, at_rest])), np.float32)
        x, y = places_of(back)
        came = cv2.remap(before[1], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        change = ramp(_error(came, now[1]), *ERROR_LEVELS)
        is_cut = float(change.mean()) > CUT_SHARE
        ends = _length(back + _taken(ahead, x, y))
        np.maximum(change, ramp(ends, *RETURN_PX), out=change)
        np.maximum(change, ramp(speed, *SPEED_PX), out=change)
        is_inside = cv2.bitwise_and(cv2.inRange(x, -0.5, width - 0.5), cv2.inRange(y, -0.5, height - 0.5))
        change[is_inside == 0] = 1.0
        return Moved(x, y, change, is_cut)


def ramp(values: Plane, low: float, high: float) -> Plane:
    """0 up to `low`, 1 from `high` on, straight between; a fresh array."""
    found: Plane = np.subtract(values, np.float32(low), dtype=np.float32)
    found *= np.float32(1.0 / (high - low))
    np.maximum(found, np.float32(0), out=found)
    return np.minimum(found, np.float32(1), out=found)


def _on_grid(small: Image, height: int, width: int) -> Image:
    shrinks = small.shape[0] >= height and small.shape[1] >= width
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(small, (width, height), interpolation=how), np.uint8)


def _error(came: NDArray[np.generic], now: Image) -> Plane:
    # The largest of three colours: a red shirt before a green hedge may have the same luma.
    per_colour = cv2.absdiff(np.asarray(came, np.uint8), now)
    largest = cv2.max(cv2.max(per_colour[..., 0], per_colour[..., 1]), per_colour[..., 2])
    return np.asarray(cv2.blur(np.asarray(largest, np.float32), (3, 3)), np.float32)


def _taken(flow: Flow, x: Plane, y: Plane) -> Flow:
    return np.asarray(cv2.remap(flow, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _length(flow: Flow) -> Plane:
    return np.asarray(cv2.magnitude(flow[..., 0], flow[..., 1]), np.float32)
