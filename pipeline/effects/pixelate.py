"""Blocks behind the subject.

The trap: `cv2.resize` by nearest neighbour costs more than a bilinear one at this size. So only one row of
each block is enlarged; the other rows are the same bytes again.
"""

from typing import ClassVar

import cv2
import numpy as np
from pydantic import Field

from pipeline.effects.composite import Compositor
from pipeline.effects.effect import Effect, Image, Painter
from pipeline.effects.plain import Nothing
from pipeline.frame import StreamFormat
from pipeline.matte import Matte

__all__ = ["Pixelate"]


class Pixelate(Effect):
    """Turn everything behind the subject into large blocks."""

    VALUE: ClassVar[str | None] = "block_px"

    block_px: int = Field(20, ge=2, le=400)
    """Side of a block, in pixels at full frame size."""

    def open(self, format: StreamFormat) -> Painter:
        return PixelatePainter(format, self.block_px)

    def with_strength(self, strength: float) -> Effect:
        if strength <= 0:
            return Nothing()
        return self.changed(block_px=min(400, max(2, round(self.block_px * strength))))


class PixelatePainter:
    """Averages blocks, then repeats them."""

    def __init__(self, format: StreamFormat, block_px: int) -> None:
        height, width = format.height, format.width
        self._block_px = block_px
        rows, columns = -(-height // block_px), -(-width // block_px)
        self._halves: list[Image] = []
        half_height, half_width = height // 2, width // 2
        while half_height >= rows and half_width >= columns:
            self._halves.append(np.empty((half_height, half_width, 3), np.uint8))
            half_height, half_width = half_height // 2, half_width // 2
        self._blocks = np.empty((rows, columns, 3), np.uint8)
        self._wide = np.empty((rows, columns, block_px, 3), np.uint8)
        self._compositor = Compositor(height, width)

    def paint(self, image_bgr: Image, matte: Matte, pts_ns: int, out: Image) -> None:
        width = image_bgr.shape[1]
        rows, columns = self._blocks.shape[:2]
        source = image_bgr
        for half in self._halves:
            cv2.resize(source, (half.shape[1], half.shape[0]), dst=half, interpolation=cv2.INTER_LINEAR)
            source = half
        cv2.resize(source, (columns, rows), dst=self._blocks, interpolation=cv2.INTER_AREA)
        np.copyto(self._wide, self._blocks[:, :, None])
        wide = self._wide.reshape(rows, columns * self._block_px, 3)[:, :width]
        for row in range(rows):
            top = row * self._block_px
            np.copyto(out[top : top + self._block_px], wide[row])
        self._compositor.over(image_bgr, matte.alpha, out)
