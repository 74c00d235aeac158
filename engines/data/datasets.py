"""Folders of pairs, and clips without any subject, decoded once into memory.

A folder holds `images/NAME.jpg|png` and `masks/NAME.png`, same name, same size, mask value = class index.
The trap: label files look black in a viewer (0 and 1), and a JPEG mask is never right.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.data import IGNORE
from engines.errors import DataError

__all__ = ["Folder", "Pair", "clip_of_background", "read_image", "read_label_map"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
CLIP_LONGER_SIDE_PX = 512


@dataclass(frozen=True, eq=False)
class Pair:
    """One picture and its labels."""

    name: str
    image_bgr: NDArray[np.uint8]
    label_map: NDArray[np.uint8]


class Folder:
    """The pairs of a folder, in name order; files are read when iterated.

    Raises:
        DataError: no such folder, no image with the prefix, or an image without a mask.
    """

    def __init__(self, root: Path, n_classes: int, prefix: str = "") -> None:
        images, masks = root / "images", root / "masks"
        for folder in (images, masks):
            if not folder.is_dir():
                raise DataError(f"{folder}: no such folder; expected images/NAME.jpg and masks/NAME.png in {root}")
        self.n_classes = n_classes
        self.paths = [
            (path, masks / f"{path.stem}.png")
            for path in sorted(images.iterdir())
            if path.suffix.lower() in IMAGE_SUFFIXES and path.name.startswith(prefix)
        ]
        if not self.paths:
            raise DataError(f"{images}: no .jpg or .png whose name begins with {prefix!r}")
        lonely = [image.name for image, mask in self.paths if not mask.is_file()]
        if lonely:
            raise DataError(f"{masks}: {len(lonely)} images have no mask, the first is {lonely[0]}")

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[Pair]:
        for image_path, mask_path in self.paths:
            image_bgr = read_image(image_path)
            label_map = read_label_map(mask_path, self.n_classes)
            if image_bgr.shape[:2] != label_map.shape:
                raise DataError(
                    f"{mask_path}: {label_map.shape[1]}x{label_map.shape[0]}, "
                    f"but its image is {image_bgr.shape[1]}x{image_bgr.shape[0]}; bring both to one size"
                )
            yield Pair(image_path.stem, image_bgr, label_map)


def read_image(path: Path) -> NDArray[np.uint8]:
    """An image file as (height, width, 3) uint8 BGR.

    Raises:
        DataError: no such file, or not an image.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        reason = "not an image that OpenCV can read" if path.is_file() else "no such file"
        raise DataError(f"{path}: {reason}")
    return np.asarray(image, np.uint8)


def read_label_map(path: Path, n_classes: int) -> NDArray[np.uint8]:
    """A mask file as (height, width) uint8.

    Raises:
        DataError: not a one-channel picture, or a value that is neither a class nor 255.
    """
    label_map = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if label_map is None or label_map.ndim != 2 or label_map.dtype != np.uint8:
        found = "unreadable" if label_map is None else f"{label_map.shape} {label_map.dtype}"
        raise DataError(f"{path}: expected an 8 bit one-channel PNG, got {found}")
    wrong = np.flatnonzero(np.bincount(label_map.ravel(), minlength=256)[n_classes:IGNORE])
    if wrong.size:
        raise DataError(f"{path}: value {wrong[0] + n_classes} is not a class (0..{n_classes - 1}) and not {IGNORE}")
    return np.asarray(label_map, np.uint8)


def clip_of_background(path: Path) -> Iterator[Pair]:
    """Frames of a clip that shows nothing but background (class 0), longer side at most 512.

    Raises:
        DataError: the clip cannot be decoded.
    """
    capture = cv2.VideoCapture(str(path))
    try:
        n_read = 0
        while True:
            has_frame, frame = capture.read()
            if not has_frame:
                break
            height, width = frame.shape[:2]
            scale = min(1.0, CLIP_LONGER_SIDE_PX / max(height, width))
            image = cv2.resize(frame, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
            image_bgr = np.asarray(image, np.uint8)
            yield Pair(f"{path.stem}_{n_read:05d}", image_bgr, np.zeros(image_bgr.shape[:2], np.uint8))
            n_read += 1
    finally:
        capture.release()
    if n_read == 0:
        raise DataError(f"{path}: no frame could be decoded; expected a video file")
