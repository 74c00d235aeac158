"""How a photograph lies in its file: the EXIF tag by which viewers turn it.

One rule for everything that is read here, pictures and masks alike: as a viewer shows it, turned by the file's own tag
(OpenCV does so; `engines.data.pairs`). Tools to draw masks with show pictures turned, so masks lie on what is seen. The
trap: a mask hardly ever carries the tag, so one drawn on the stored pixels lies across its photograph.
"""

import struct
from pathlib import Path

__all__ = ["UPRIGHT", "is_laid_over", "orientation_of", "told_of_turn"]

UPRIGHT = 1
"""The value of photographs that are shown as they are stored (Exif 2.32, 4.6.5.1.4)."""
LAID_OVER = (5, 6, 7, 8)
"""Values that exchange width and height."""
TAG, TAG_BYTES = 0x0112, 12
HEADER_BYTES = 1 << 18
"""Where the tag is found at the latest: segments before it are 64 KiB at most, and few."""


def is_laid_over(orientation: int) -> bool:
    """Whether width and height are exchanged when the file is shown."""
    return orientation in LAID_OVER


def orientation_of(path: Path) -> int:
    """The tag of a JPEG or PNG, 1 to 8; 1 without one, or where the file is damaged.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(HEADER_BYTES)
    try:
        block = _of_jpeg(data) if data[:2] == b"\xff\xd8" else _of_png(data)
        found = _of_tiff(block) if block else UPRIGHT
    except (struct.error, IndexError):
        return UPRIGHT
    return found if 1 <= found <= 8 else UPRIGHT


def _of_jpeg(data: bytes) -> bytes:
    """The TIFF block in the first application segment 1 that says Exif (Exif 2.32, 4.5.4); empty without one."""
    at = 2
    while data[at] == 0xFF and data[at + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", data, at + 2)
        if data[at + 1] == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            return data[at + 10 : at + 2 + length]
        at += 2 + length
    return b""


def _of_png(data: bytes) -> bytes:
    """The `eXIf` chunk of a PNG (PNG specification, 11.3.4.5); empty without one."""
    at = 8
    while data[:4] == b"\x89PNG" and at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        if data[at + 4 : at + 8] == b"eXIf":
            return data[at + 8 : at + 8 + length]
        at += 12 + length
    return b""


def _of_tiff(block: bytes) -> int:
    """The orientation among the entries of the first directory of a TIFF block."""
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return UPRIGHT
    (directory,) = struct.unpack_from(order + "I", block, 4)
    (n,) = struct.unpack_from(order + "H", block, directory)
    for index in range(n):
        at = directory + 2 + index * TAG_BYTES
        tag, _, _, value = struct.unpack_from(order + "HHIH", block, at)
        if tag == TAG:
            return int(value)
    return UPRIGHT


def told_of_turn(image: Path, shown: tuple[int, ...], labels: tuple[int, ...]) -> str:
    """What is wrong where labels have the shape of a photograph before its turn; empty for any other difference.

    Args:
        shown: (height, width) of the photograph as it is read.
        labels: (height, width) of what should lie on it.
    """
    if shown[:2] != labels[1::-1] or not is_laid_over(orientation_of(image)):
        return ""
    return "the labels lie on the photograph as it is stored, but its EXIF tag turns it; turn them the same way"
