"""A picture with its labels, what a data set is, and how label files are read.

Label maps are uint8 (height, width): the pixel is the class, 255 is ignored. The trap: a palettised PNG (Pascal
VOC) holds indices too, but OpenCV turns them into the palette's colours; `read_indices` gives the indices.
Every file is turned as its own EXIF tag says (`engines.data.orientation`).
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.data import IGNORE
from engines.errors import DataError

__all__ = ["IMAGE_SUFFIXES", "Dataset", "Pair", "check_values", "read_image", "read_indices", "read_label_map"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
AS_STORED_BUT_TURNED = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
"""Like `cv2.IMREAD_UNCHANGED`, which does not obey the EXIF tag that `cv2.IMREAD_COLOR` obeys."""
GREY, PALETTE = 0, 3
"""Colour types of a PNG header (PNG specification, 11.2.2)."""


@dataclass(frozen=True, eq=False)
class Pair:
    """One picture and its labels."""

    name: str
    image_bgr: NDArray[np.uint8]
    """(height, width, 3) uint8."""
    label_map: NDArray[np.uint8]
    """(height, width) uint8; 255 is ignored."""


class Dataset(Protocol):
    """Pictures with labels, by index; reading one is what may take time or fail."""

    @property
    def names(self) -> Sequence[str]:
        """What each picture is called, in order."""
        ...

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The format's own classes, None where they are the user's."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Pair: ...

    def __iter__(self) -> Iterator[Pair]: ...


def read_image(path: Path) -> NDArray[np.uint8]:
    """An image file as (height, width, 3) uint8 BGR, as a viewer shows it: turned by its EXIF tag.

    Raises:
        DataError: no such file, or not an image.
    """
    if not path.is_file():  # first: OpenCV would print a warning of its own
        raise DataError(f"{path}: {'a folder, expected an image' if path.is_dir() else 'no such file'}")
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise DataError(f"{path}: not an image that OpenCV can read")
    return np.asarray(image, np.uint8)


def read_label_map(path: Path, n_classes: int, table: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """A mask file as (height, width) uint8; plain grey and palettised PNGs alike.

    Args:
        table: (256,) what each stored value means here, such as Cityscapes' labelIds -> trainIds.

    Raises:
        DataError: not a one-channel picture, or a value that is neither a class nor 255.
    """
    label_map = read_indices(path)
    if table is not None:
        label_map = table[label_map]
    check_values(label_map, n_classes, str(path))
    return label_map


def check_values(label_map: NDArray[np.uint8], n_classes: int, where: str) -> None:
    """Raise DataError where a pixel is neither a class nor 255."""
    wrong = np.flatnonzero(np.bincount(label_map.ravel(), minlength=256)[n_classes:IGNORE])
    if wrong.size:
        raise DataError(f"{where}: value {wrong[0] + n_classes} is not a class (0..{n_classes - 1}) and not {IGNORE}")


def read_indices(path: Path) -> NDArray[np.uint8]:
    """The numbers a label file stores, (height, width) uint8: grey values, or palette indices; turned by its EXIF tag.

    Raises:
        DataError: unreadable, more than one channel, or more than 8 bits.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    data, depth = _as_grey(data)
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), AS_STORED_BUT_TURNED) if data else None
    if stored is None or stored.ndim != 2 or stored.dtype != np.uint8:
        found = "unreadable" if stored is None else f"{stored.shape} {stored.dtype}"
        raise DataError(f"{path}: expected an 8 bit one-channel PNG, got {found}")
    # OpenCV spreads 1, 2 and 4 bits over 0..255.
    spread = 255 // (2**depth - 1)
    return np.asarray(stored // spread if spread > 1 else stored, np.uint8)


def _as_grey(data: bytes) -> tuple[bytes, int]:
    """A palettised PNG relabelled as grey, so that a decoder gives the indices; and the bits a pixel.

    Only the header's colour type changes and the palette goes; the pixels' bytes mean the same in both.
    """
    if data[:8] != PNG_SIGNATURE or len(data) < 33:
        return data, 8
    depth, colour_type = data[24], data[25]
    if colour_type == GREY:
        return data, depth if depth in {1, 2, 4} else 8
    if colour_type != PALETTE:
        return data, 8
    header = data[12:25] + bytes([GREY]) + data[26:29]
    kept = [PNG_SIGNATURE, struct.pack(">I", 13), header, struct.pack(">I", zlib.crc32(header))]
    at = 33
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        if data[at + 4 : at + 8] not in {b"PLTE", b"tRNS", b"bKGD", b"hIST", b"sPLT"}:
            kept.append(data[at : at + 12 + length])
        at += 12 + length
    return b"".join(kept), depth
