"""Colours as people write them: a name or `#rrggbb`.

The trap: everything on screen here is BGR, everything people write is RGB.
"""

import re

__all__ = ["COLOURS_RGB", "bgr_from_text"]

COLOURS_RGB: dict[str, tuple[int, int, int]] = {
    "black": (0, 0, 0),
    "blue": (0, 71, 187),
    "gray": (128, 128, 128),
    "green": (0, 177, 64),
    "grey": (128, 128, 128),
    "magenta": (255, 0, 255),
    "navy": (16, 24, 64),
    "orange": (255, 140, 0),
    "pink": (255, 105, 180),
    "purple": (106, 60, 180),
    "red": (214, 40, 40),
    "teal": (0, 128, 128),
    "white": (255, 255, 255),
    "yellow": (255, 210, 0),
}
"""`green` and `blue` are the tones chroma keyers expect."""

_HEX = re.compile(r"#(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})")


def bgr_from_text(text: str) -> tuple[int, int, int] | None:
    """The colour's (blue, green, red), or None when the text names no colour."""
    if text.lower() in COLOURS_RGB:
        red, green, blue = COLOURS_RGB[text.lower()]
        return blue, green, red
    if not _HEX.fullmatch(text):
        return None
    digits = text[1:]
    if len(digits) == 3:
        digits = "".join(digit * 2 for digit in digits)
    return int(digits[4:6], 16), int(digits[2:4], 16), int(digits[0:2], 16)
