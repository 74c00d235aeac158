"""A sharp subject in front of a Gaussian-like blur.

A wide Gaussian keeps nothing that a small picture cannot hold: halve until the rest of the blur is 1.4 to
2.8 px wide, blur there, enlarge. At 1280x720 and 12 px that is 0.9 ms against 19 ms, and 50 dB from
`cv2.GaussianBlur` even on white noise. The trap: halving and bilinear enlarging blur too, so their
variance is taken off first.
"""

import math
from typing import ClassVar

import cv2
import numpy as np
from pydantic import Field

from pipeline.effects.composite import Compositor
from pipeline.effects.effect import Effect, Image, Painter
from pipeline.effects.plain import Nothing
from pipeline.frame import StreamFormat
from pipeline.matte import Matte

__all__ = ["Blur", "FastGaussian"]

LEAST_SIGMA_PX = 1.4
"""Blur left for the smallest picture: with less, the bilinear enlargement shows its grid."""
LEAST_SIDE_PX = 4


class Blur(Effect):
    """Blur everything behind the subject."""

    VALUE: ClassVar[str | None] = "sigma_px"

    sigma_px: float = Field(12.0, gt=0, le=200)
    """Standard deviation of the blur, in pixels at full frame size."""

    def open(self, format: StreamFormat) -> Painter:
        return BlurPainter(format, self.sigma_px)

    def with_strength(self, strength: float) -> Effect:
        if strength <= 0:
            return Nothing()
        return self.changed(sigma_px=min(200.0, self.sigma_px * strength))


class FastGaussian:
    """A Gaussian blur of one frame size and one width, by way of a small picture."""

    def __init__(self, height: int, width: int, sigma_px: float) -> None:
        factor = 1
        while sigma_px / (2 * factor) >= LEAST_SIGMA_PX and min(height, width) // (2 * factor) >= LEAST_SIDE_PX:
            factor *= 2
        self.factor = factor
        self._size = (width, height)
        self._halves: list[Image] = []
        while factor > 1:
            height, width, factor = max(1, round(height / 2)), max(1, round(width / 2)), factor // 2
            self._halves.append(np.empty((height, width, 3), np.uint8))
        # Variances add: a box of f pixels has (f² - 1) / 12, the triangle of a bilinear enlargement f² / 6.
        taken = 0.0 if self.factor == 1 else (self.factor**2 - 1) / 12 + self.factor**2 / 6
        self.sigma_small_px = math.sqrt(max(sigma_px**2 - taken, 0.25)) / self.factor
        reach = 2 * math.ceil(3 * self.sigma_small_px) + 1
        self._kernel = (reach, reach)
        self._blurred = np.empty((height, width, 3), np.uint8)
        # A large picture is mirrored about its outermost pixels' centres. Of a small one that would lie half a
        # small pixel too far in; its outer edge is nearer.
        self._border = cv2.BORDER_REFLECT if self._halves else cv2.BORDER_REFLECT_101

    def blur(self, image_bgr: Image, out: Image) -> None:
        """Write the blurred image over the whole of `out`."""
        source = image_bgr
        for half in self._halves:
            # An exact half is the mean of four pixels: cv2 takes its fast path for that.
            cv2.resize(source, (half.shape[1], half.shape[0]), dst=half, interpolation=cv2.INTER_LINEAR)
            source = half
        target = self._blurred if self._halves else out
        cv2.GaussianBlur(source, self._kernel, self.sigma_small_px, dst=target, borderType=self._border)
        if self._halves:
            cv2.resize(target, self._size, dst=out, interpolation=cv2.INTER_LINEAR)


class BlurPainter:
    """Blurs into the composite, then lays the subject over it."""

    def __init__(self, format: StreamFormat, sigma_px: float) -> None:
        self._gaussian = FastGaussian(format.height, format.width, sigma_px)
        self._compositor = Compositor(format.height, format.width)

    def paint(self, image_bgr: Image, matte: Matte, pts_ns: int, out: Image) -> None:
        self._gaussian.blur(image_bgr, out)
        self._compositor.over(image_bgr, matte.alpha, out)
