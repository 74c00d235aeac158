"""A sharp subject in front of a blurred background.

The trap: blurred as it is, the picture's background holds the subject's colour all around it, which shows as a halo.
So the subject is left out of the kernel; `halo: keep` blurs plainly, as a lens cannot.
"""

from typing import ClassVar, Literal

from pydantic import Field

from pipeline.effects.composite import Compositor
from pipeline.effects.effect import Effect, Image, Painter
from pipeline.effects.gaussian import BackgroundGaussian, FastGaussian
from pipeline.effects.plain import Nothing
from pipeline.frame import StreamFormat
from pipeline.matte import Matte

__all__ = ["Blur"]


class Blur(Effect):
    """Blur everything behind the subject."""

    VALUE: ClassVar[str | None] = "sigma_px"

    sigma_px: float = Field(12.0, gt=0, le=200)
    """Standard deviation of the blur, in pixels at full frame size."""
    halo: Literal["free", "keep"] = "free"
    """`free` leaves the subject out of the blur behind it; `keep` blurs it in, a little faster."""

    def open(self, format: StreamFormat) -> Painter:
        if self.halo == "keep":
            return PlainBlurPainter(format, self.sigma_px)
        return BlurPainter(format, self.sigma_px)

    def with_strength(self, strength: float) -> Effect:
        if strength <= 0:
            return Nothing()
        return self.changed(sigma_px=min(200.0, self.sigma_px * strength))


class BlurPainter:
    """Blurs the background into the composite, then lays the subject over it."""

    def __init__(self, format: StreamFormat, sigma_px: float) -> None:
        self._gaussian = BackgroundGaussian(format.height, format.width, sigma_px)
        self._compositor = Compositor(format.height, format.width)

    def paint(self, image_bgr: Image, matte: Matte, pts_ns: int, out: Image) -> None:
        self._gaussian.blur(image_bgr, matte.alpha, out)
        self._compositor.over(image_bgr, matte.alpha, out)


class PlainBlurPainter:
    """Blurs all of the picture into the composite, then lays the subject over it."""

    def __init__(self, format: StreamFormat, sigma_px: float) -> None:
        self._gaussian = FastGaussian(format.height, format.width, sigma_px)
        self._compositor = Compositor(format.height, format.width)

    def paint(self, image_bgr: Image, matte: Matte, pts_ns: int, out: Image) -> None:
        self._gaussian.blur(image_bgr, out)
        self._compositor.over(image_bgr, matte.alpha, out)
