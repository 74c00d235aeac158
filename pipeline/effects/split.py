"""Before and after, side by side in one picture.

The left part is the captured picture, the right part another effect's, a line between them. The trap: the
other effect is kept as text, the command line's own grammar, so that a config shows what was typed.
"""

from typing import ClassVar

import numpy as np
from pydantic import Field, field_validator

from configs import ConfigError
from pipeline.effects.effect import Effect, Image, Painter
from pipeline.frame import StreamFormat
from pipeline.matte import Matte

__all__ = ["Split"]

LINE_SHARE = 1 / 320
"""Width of the line, as a share of the frame's: 4 px at 1280."""


class Split(Effect):
    """Show before and after side by side, with a line between them; after is a blur if nothing else is named."""

    VALUE: ClassVar[str | None] = "after"

    after: str = "blur"
    """The effect on the right, as on the command line: `pixelate:30`."""
    strength: float = Field(1.0, ge=0, le=2)
    """Of the effect on the right; 1 is as it says."""
    at: float = Field(0.5, gt=0, lt=1)
    """Where the line stands: 0 is the left edge, 1 the right one."""

    @field_validator("after")
    @classmethod
    def _is_another_effect(cls, after: str) -> str:
        if type(_effect(after)) is cls:
            raise ValueError("a split cannot be split again; name another effect, such as split:pixelate")
        return after

    def open(self, format: StreamFormat) -> Painter:
        return SplitPainter(format, _effect(self.after).with_strength(self.strength).open(format), self.at)

    def with_strength(self, strength: float) -> Effect:
        return self.changed(strength=min(2.0, max(0.0, self.strength * strength)))


class SplitPainter:
    """Lets the other painter paint, then puts the captured picture over the left part."""

    def __init__(self, format: StreamFormat, after: Painter, at: float) -> None:
        self._after = after
        line_px = min(max(1, round(format.width * LINE_SHARE)), format.width)
        self._left = min(max(0, round(format.width * at) - line_px // 2), format.width - line_px)
        self._right = self._left + line_px

    def paint(self, image_bgr: Image, matte: Matte, pts_ns: int, out: Image) -> None:
        self._after.paint(image_bgr, matte, pts_ns, out)
        np.copyto(out[:, : self._left], image_bgr[:, : self._left])
        out[:, self._left : self._right] = 255


def _effect(text: str) -> Effect:
    # The table that reads the text holds this class too, so it can only be asked when everything is there.
    from pipeline.effects import effect_from_text

    try:
        return effect_from_text(text)
    except ConfigError as error:
        raise ValueError(str(error)) from error
