"""The size of a picture: `512x288` in text, (width, height) in code.

The one place that reads such a text; printing is `str`. The trap: arrays and tensors have it the other way round,
(height, width); `Size.of` reads a picture's size off its array.
"""

import re
from typing import Annotated, Any, NamedTuple, Self

from numpy.typing import NDArray
from pydantic import PlainSerializer, PlainValidator

__all__ = ["DEFAULT_SIZE", "SIDE_MULTIPLE", "WXH", "ServedSize", "Size"]

SIDE_MULTIPLE = 32
"""Sides that a network takes are multiples of this: it halves them up to five times."""

WXH = r"[1-9][0-9]{0,4}[xX][1-9][0-9]{0,4}"
"""What `Size.from_text` reads, as a part of a longer pattern."""


class Size(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int

    @classmethod
    def from_text(cls, text: str, multiple_of: int = 1) -> Self:
        """Read `WxH`, sides from 1 to 99999.

        Raises:
            ValueError: it is something else, or a side is not a multiple of `multiple_of`.
        """
        size = cls(*map(int, text.lower().split("x"))) if re.fullmatch(WXH, text) else None
        if size is None or not size.is_in(multiple_of):
            multiples = f" in multiples of {multiple_of}" if multiple_of > 1 else ""
            raise ValueError(f"size {text!r}: expected WIDTHxHEIGHT{multiples}, such as {DEFAULT_SIZE}")
        return size

    @classmethod
    def of(cls, picture: NDArray[Any]) -> Self:
        """Of an array (height, width[, channels])."""
        height, width = picture.shape[:2]
        return cls(width, height)

    def is_in(self, multiple: int) -> bool:
        """Whether both sides are multiples of it."""
        return self.width % multiple == 0 and self.height % multiple == 0

    def scaled(self, scale: float) -> "Size":
        """The nearest size that a network takes."""
        width, height = (max(1, round(side * scale / SIDE_MULTIPLE)) * SIDE_MULTIPLE for side in self)
        return Size(width, height)

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


DEFAULT_SIZE = Size(512, 288)
"""Of engines and of scores, where nothing else is said: 16:9 in multiples of 32."""


def _served(value: Any) -> Size:
    return Size.from_text(str(value), multiple_of=SIDE_MULTIPLE)


ServedSize = Annotated[Size, PlainValidator(_served), PlainSerializer(str)]
"""A key of a config: `WxH` in multiples of 32, as an engine can have it."""
