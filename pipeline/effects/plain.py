"""The effect that is none: the captured picture as it is, for comparing and for pausing the others."""

import numpy as np

from pipeline.effects.effect import Effect, Image, Painter
from pipeline.frame import StreamFormat
from pipeline.matte import Matte

__all__ = ["Nothing"]


class Nothing(Effect):
    """Show the picture as it was captured."""

    def open(self, format: StreamFormat) -> Painter:
        return CopyPainter()

    def with_strength(self, strength: float) -> Effect:
        return self


class CopyPainter:
    """Copies the frame."""

    def paint(self, image_bgr: Image, matte: Matte, pts_ns: int, out: Image) -> None:
        np.copyto(out, image_bgr)
