"""Photographs that viewers turn: pictures and masks are read as they are shown, and a mask that lies across is told."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.data.check import TURNED, check
from engines.data.datasets import DatasetOptions, open_dataset
from engines.data.orientation import orientation_of
from engines.data.pairs import read_image, read_indices
from engines.errors import DataError

CLASSES = ("ground", "thing")
HALF, RIGHT = 3, 6
"""Values of the tag: to be turned by half a turn, and by a quarter clockwise."""


def _tiff(orientation: int, order: str = "<") -> bytes:
    """A TIFF block with this one entry."""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order]
    return head + struct.pack(order + "IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def _stored() -> tuple[np.ndarray, np.ndarray]:
    """A picture of 64x32 whose upper left quarter is white, and its labels."""
    image, labels = np.zeros((32, 64, 3), np.uint8), np.zeros((32, 64), np.uint8)
    image[:16, :32], labels[:16, :32] = 255, 1
    return image, labels


def _jpeg(path: Path, image: np.ndarray, orientation: int, order: str = "<") -> None:
    data = cv2.imencode(".jpg", image)[1].tobytes()
    block = b"Exif\0\0" + _tiff(orientation, order)
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:])


def _png(path: Path, image: np.ndarray, orientation: int) -> None:
    data = cv2.imencode(".png", image)[1].tobytes()
    chunk = b"eXIf" + _tiff(orientation)
    path.write_bytes(
        data[:33] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]
    )


def _folder(root: Path, orientation: int, labels: np.ndarray) -> DatasetOptions:
    """One photograph with the tag, and a mask without."""
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    _jpeg(root / "images" / "a.jpg", _stored()[0], orientation)
    cv2.imwrite(str(root / "masks" / "a.png"), labels)
    return DatasetOptions(path=root)


def test_a_mask_that_was_drawn_on_the_turned_picture_lies_on_it(tmp_path: Path) -> None:
    """Tools to label with show the picture as every viewer does; nothing is to be remarked on."""
    options = _folder(tmp_path, RIGHT, np.rot90(_stored()[1], -1))

    pair = open_dataset(options, CLASSES)[0]

    assert pair.image_bgr.shape == (64, 32, 3)
    assert ((pair.image_bgr[..., 0] > 127) == (pair.label_map == 1)).all()
    report = check(options, CLASSES)
    assert report.is_fit
    assert TURNED not in report.remarks


def test_a_mask_with_a_tag_of_its_own_is_turned_with_its_picture(tmp_path: Path) -> None:
    """Pictures were turned by the tag and masks were not: a pair that agreed on the disk came apart when read."""
    image, labels = _stored()
    _png(tmp_path / "image.png", image, RIGHT)
    _png(tmp_path / "mask.png", labels, RIGHT)

    assert np.array_equal(read_image(tmp_path / "image.png")[..., 0] > 0, read_indices(tmp_path / "mask.png") > 0)


def test_a_mask_on_the_stored_pixels_is_told_with_the_reason(tmp_path: Path) -> None:
    """Not only that sizes differ, which the viewer's sizes would deny."""
    options = _folder(tmp_path, RIGHT, _stored()[1])

    report = check(options, CLASSES)

    [told] = report.faults["masks of unturned photographs"]
    assert told.startswith("a: mask 64x32, image 32x64; the labels lie on the photograph as it is stored")
    with pytest.raises(DataError, match=r"a\.png: 64x32, but its image is 32x64; .*EXIF tag turns it"):
        open_dataset(options, CLASSES)[0]


def test_a_half_turn_cannot_be_seen_in_the_sizes_and_is_remarked_on(tmp_path: Path) -> None:
    """The set is fit, but somebody should look."""
    report = check(_folder(tmp_path, HALF, _stored()[1]), CLASSES)

    assert report.is_fit
    assert report.remarks[TURNED] == ["a"]


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_tag_is_found_in_both_byte_orders(tmp_path: Path, order: str) -> None:
    """Cameras write either."""
    _jpeg(tmp_path / "a.jpg", _stored()[0], RIGHT, order)

    assert orientation_of(tmp_path / "a.jpg") == RIGHT


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xe1\x00", b"\x89PNG\r\n\x1a\n\x00", b"text"])
def test_a_file_without_a_tag_is_upright(tmp_path: Path, data: bytes) -> None:
    """Damaged ones too: what they lack is told by whoever reads the picture."""
    (tmp_path / "a").write_bytes(data)

    assert orientation_of(tmp_path / "a") == 1
