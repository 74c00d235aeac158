"""The seam of all effects: frozen options that open a painter.

An `Effect` is a setting: it travels in configs and commands, and is compared and printed. A `Painter` is
what it becomes once the stream's format is known: it owns buffers and is fed frames. The trap: `out` is
the composite slot and `image_bgr` the captured one; a painter may read back `out`, never write `image_bgr`.
"""

from typing import ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from configs import Options
from pipeline.frame import StreamFormat
from pipeline.matte import Matte

__all__ = ["Effect", "Image", "Painter"]

Image = NDArray[np.uint8]
"""(height, width, 3) uint8, BGR."""


class Painter(Protocol):
    """Paints one frame at a time; allocates nothing in the steady state."""

    def paint(self, image_bgr: Image, matte: Matte, pts_ns: int, out: Image) -> None:
        """Write the whole of `out`; all three arrays are of frame size.

        Args:
            image_bgr: the captured frame, read only.
            matte: this frame's own segmentation.
            pts_ns: presentation time of the frame, for what moves by itself.
            out: the composite, every pixel of which is written.
        """


class Effect(Options):
    """Base of every effect: its fields are its options, its first docstring line is what `list` shows."""

    VALUE: ClassVar[str | None] = None
    """The field that `NAME:VALUE` sets; None: the effect takes no value."""

    def open(self, format: StreamFormat) -> Painter:
        """Make the painter for a stream of this format, with all its buffers."""
        raise NotImplementedError

    def with_strength(self, strength: float) -> "Effect":
        """The same effect, weaker (below 1) or stronger (up to 2); 0 leaves the picture as it is."""
        raise NotImplementedError

    def changed(self, **fields: object) -> Self:
        """A validated copy with some fields changed."""
        return self.model_validate({**self.model_dump(), **fields})
