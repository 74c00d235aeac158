"""Another background: `replace` with anything, `cutout` with one flat colour.

Both fill the composite with a backdrop and lay the subject over it, in its own colour: of the old background nothing
shines through its soft edge.
"""

from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
from pydantic import Field, field_validator

from configs import near_matches
from pipeline.effects.backdrop import Backdrop, Still, VideoLoop, gradient, picture
from pipeline.effects.colour import COLOURS_RGB, bgr_from_text
from pipeline.effects.effect import Effect, Image, Painter
from pipeline.effects.foreground import ForegroundCompositor
from pipeline.effects.plain import Nothing
from pipeline.frame import StreamFormat
from pipeline.matte import Matte

__all__ = ["Cutout", "Replace"]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


class Replace(Effect):
    """Put another background behind the subject: a colour, an image, a video, or a drawn gradient."""

    VALUE: ClassVar[str | None] = "backdrop"

    backdrop: str = ""
    """A colour (`teal`, `#203040`), the path of an image or a video; empty: a gradient."""
    mix: float = Field(1.0, gt=0, le=1)
    """How much of the backdrop shows; below 1 the captured background shines through."""

    @field_validator("backdrop")
    @classmethod
    def _is_colour_or_file(cls, backdrop: str) -> str:
        path = Path(backdrop)
        if not backdrop or bgr_from_text(backdrop) is not None or path.is_file():
            return backdrop
        if path.is_dir():
            raise ValueError("is a folder; pass an image, a video or a colour")
        if path.suffix or len(path.parts) > 1:
            raise ValueError(f"there is no such file in {path.absolute().parent}; pass an image, a video or a colour")
        raise ValueError(f"neither a file nor a colour; {near_matches(backdrop, COLOURS_RGB)}, or #rrggbb")

    def open(self, format: StreamFormat) -> Painter:
        return BackdropPainter(format, self._opened(format.height, format.width), self.mix)

    def with_strength(self, strength: float) -> Effect:
        return _with_mix(self, self.mix, strength)

    def _opened(self, height: int, width: int) -> Backdrop:
        if not self.backdrop:
            return Still(gradient(height, width))
        bgr = bgr_from_text(self.backdrop)
        if bgr is not None:
            return Still(_flat(height, width, bgr))
        path = Path(self.backdrop)
        if path.suffix.lower() in IMAGE_SUFFIXES:
            return Still(picture(path, height, width))
        return VideoLoop(path, height, width)


class Cutout(Effect):
    """Cut the subject out, onto one flat colour: green or black."""

    VALUE: ClassVar[str | None] = "background"

    background: str = "green"
    """`green` for chroma keying, `black`, or any other colour."""
    mix: float = Field(1.0, gt=0, le=1)
    """How much of the colour shows; below 1 the captured background shines through."""

    @field_validator("background")
    @classmethod
    def _is_colour(cls, background: str) -> str:
        if bgr_from_text(background) is None:
            raise ValueError(f"not a colour; {near_matches(background, COLOURS_RGB)}, or #rrggbb")
        return background

    def open(self, format: StreamFormat) -> Painter:
        bgr = bgr_from_text(self.background)
        assert bgr is not None, "the validator let a word through that is no colour"
        return BackdropPainter(format, Still(_flat(format.height, format.width, bgr)), self.mix)

    def with_strength(self, strength: float) -> Effect:
        return _with_mix(self, self.mix, strength)


class BackdropPainter:
    """Lays the subject over a backdrop."""

    def __init__(self, format: StreamFormat, backdrop: Backdrop, mix: float) -> None:
        self.backdrop = backdrop
        self.mix = mix
        self._compositor = ForegroundCompositor(format.height, format.width)

    def paint(self, image_bgr: Image, matte: Matte, pts_ns: int, out: Image) -> None:
        behind = self.backdrop.at(pts_ns)
        if self.mix < 1:
            cv2.addWeighted(behind, self.mix, image_bgr, 1 - self.mix, 0, dst=out)
        else:
            np.copyto(out, behind)
        self._compositor.over(image_bgr, matte.alpha, out)


def _flat(height: int, width: int, bgr: tuple[int, int, int]) -> Image:
    return np.full((height, width, 3), bgr, np.uint8)


def _with_mix(effect: Effect, mix: float, strength: float) -> Effect:
    return Nothing() if strength <= 0 else effect.changed(mix=min(1.0, mix * strength))
