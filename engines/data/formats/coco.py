"""COCO by annotation file: polygons and run lengths become label maps.

`annotations/instances_SPLIT.json` with the pictures in `SPLIT/`, or a JSON file named itself. The k-th wanted category
is class k + 1, everything else background. The trap: `iscrowd` regions hold many objects under one run-length
mask without outlines; they become 255.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.data import IGNORE
from engines.data.orientation import told_of_turn
from engines.data.pairs import Pair, read_image
from engines.errors import DataError
from engines.size import Size

__all__ = ["Coco", "run_lengths"]

FINER = 5
FRACTION_BITS = 4


class Coco:
    """A `Dataset` of the pictures of an annotation file; those without a wanted category are background alone.

    Raises:
        DataError: no such file, not an annotation file, or an unknown category.
    """

    def __init__(
        self, root: Path, categories: Sequence[str], split: str = "", prefix: str = "", images: Path | None = None
    ) -> None:
        split = split or "train2017"
        path = root if root.is_file() else root / "annotations" / f"instances_{split}.json"
        self.folder = images or (root.parent.parent / split if root.is_file() else root / split)
        stored = _annotations(path)
        ids = {category["name"]: category["id"] for category in stored["categories"]}
        unknown = [name for name in categories if name not in ids]
        if unknown:
            raise DataError(f"{path}: no category {unknown[0]!r}; there are: {', '.join(sorted(ids)[:20])}")
        self.classes: tuple[str, ...] | None = ("background", *categories)
        class_of = {ids[name]: index + 1 for index, name in enumerate(categories)}
        self.pictures = sorted(
            (p for p in stored["images"] if p["file_name"].startswith(prefix)), key=lambda p: str(p["file_name"])
        )
        if not self.pictures:
            raise DataError(f"{path}: no picture whose name begins with {prefix!r}")
        self.regions: dict[int, list[tuple[int, bool, Any]]] = {}
        for annotation in stored["annotations"]:
            if annotation["category_id"] in class_of:
                region = (
                    class_of[annotation["category_id"]],
                    bool(annotation.get("iscrowd")),
                    annotation["segmentation"],
                )
                self.regions.setdefault(annotation["image_id"], []).append(region)
        self.names = tuple(Path(picture["file_name"]).stem for picture in self.pictures)

    def __len__(self) -> int:
        return len(self.pictures)

    def __iter__(self) -> Iterator[Pair]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Pair:
        """Read one picture and draw its labels; objects win over crowds."""
        picture = self.pictures[index]
        image_bgr = read_image(self.folder / picture["file_name"])
        height, width = image_bgr.shape[:2]
        told = Size(picture["width"], picture["height"])
        if told != Size.of(image_bgr):
            path = self.folder / picture["file_name"]
            turned = told_of_turn(path, image_bgr.shape, (told.height, told.width))
            raise DataError(
                f"{path}: {Size.of(image_bgr)}, but its annotation says {told}{'; ' if turned else ''}{turned}"
            )
        label_map = np.zeros((height, width), np.uint8)
        for label, is_crowd, segmentation in sorted(self.regions.get(picture["id"], []), key=lambda r: not r[1]):
            try:
                inside = _inside(segmentation, height, width)
            except (ValueError, KeyError, TypeError, IndexError) as error:
                raise DataError(
                    f"{picture['file_name']}: an outline that cannot be read ({error}); mend its annotation"
                ) from error
            label_map[inside] = IGNORE if is_crowd else label
        return Pair(self.names[index], image_bgr, label_map)


def run_lengths(counts: str | Sequence[int], height: int, width: int) -> NDArray[np.bool_]:
    """COCO's run lengths as (height, width): lengths of 0s and 1s in turn, down the columns.

    A string packs them six bits a character, as differences from the count before last (cocoapi, maskApi.c).

    Raises:
        ValueError: the lengths do not sum to the picture's area.
    """
    lengths = _unpacked(counts) if isinstance(counts, str) else list(counts)
    if sum(lengths) != height * width or min(lengths, default=0) < 0:
        raise ValueError(f"run lengths sum to {sum(lengths)}, the picture has {height} x {width} pixels")
    flat = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return flat.reshape(width, height).T


def _unpacked(packed: str) -> list[int]:
    lengths: list[int] = []
    at = 0
    while at < len(packed):
        value, shift, has_more = 0, 0, True
        while has_more:
            bits = ord(packed[at]) - 48
            value |= (bits & 0x1F) << shift
            has_more = bool(bits & 0x20)
            at, shift = at + 1, shift + 5
            if not has_more and bits & 0x10:
                value -= 1 << shift
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
    return lengths


def _inside(segmentation: Any, height: int, width: int) -> NDArray[np.bool_]:
    if isinstance(segmentation, dict):
        return run_lengths(segmentation["counts"], height, width)
    inside = np.zeros((height, width), bool)
    for polygon in segmentation:
        _fill(inside, np.asarray(polygon, np.float64).reshape(-1, 2))
    return inside


def _fill(inside: NDArray[np.bool_], corners: NDArray[np.float64]) -> None:
    """Set the pixels whose centres lie in a polygon, whose corners are measured from the picture's corner.

    OpenCV fills every pixel that the outline touches, half a pixel too many all around; so it draws FINER times
    larger, in the polygon's own box, and the middle of each block tells.
    """
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(int), inside.shape[::-1])
    wide, tall = np.maximum(high - low, 0)
    drawn = np.zeros((tall * FINER, wide * FINER), np.uint8)
    if drawn.size == 0:
        return
    points = np.round(((corners - low) * FINER - 0.5) * (1 << FRACTION_BITS)).astype(np.int32)
    cv2.fillPoly(drawn, [points], 1, shift=FRACTION_BITS)
    middle = FINER // 2
    inside[low[1] : high[1], low[0] : high[0]] |= drawn[middle::FINER, middle::FINER] > 0


def _annotations(path: Path) -> dict[str, Any]:
    try:
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); expected annotations/instances_SPLIT.json"
        ) from error
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error})") from error
    missing = [key for key in ("images", "annotations", "categories") if key not in stored]
    if missing:
        raise DataError(f"{path}: no {missing[0]!r}; expected an `instances` annotation file")
    return stored
