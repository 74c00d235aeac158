"""Pairs of files: an image, a label file, and a table for what the stored values mean."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.data import IGNORE
from engines.data.orientation import told_of_turn
from engines.data.pairs import IMAGE_SUFFIXES, Pair, read_image, read_label_map
from engines.errors import DataError
from engines.size import Size

__all__ = ["FilePair", "PairFiles", "images_in", "need_folder"]


@dataclass(frozen=True)
class FilePair:
    """Where one picture and its labels lie."""

    name: str
    image: Path
    mask: Path | None
    """None: unlabelled, every pixel is 255."""


class PairFiles:
    """A `Dataset` of files, read when asked for; `require_masks` finds half a pair before a training does."""

    def __init__(
        self,
        files: Sequence[FilePair],
        n_classes: int,
        classes: tuple[str, ...] | None = None,
        table: NDArray[np.uint8] | None = None,
    ) -> None:
        self.files = tuple(files)
        self.n_classes = n_classes
        self.classes = classes
        self.table = table
        self.names = tuple(file.name for file in self.files)

    def require_masks(self) -> None:
        """Raise DataError where an image has no label file."""
        lonely = [file for file in self.files if file.mask is not None and not file.mask.is_file()]
        if lonely:
            first = lonely[0]
            assert first.mask is not None
            raise DataError(f"{first.mask.parent}: {len(lonely)} images have no mask, the first is {first.image.name}")

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[Pair]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Pair:
        """Read one pair.

        Raises:
            DataError: a file is missing, unreadable, of another size than its partner, or has a wrong value.
        """
        file = self.files[index]
        image_bgr = read_image(file.image)
        if file.mask is None:
            return Pair(file.name, image_bgr, np.full(image_bgr.shape[:2], IGNORE, np.uint8))
        label_map = read_label_map(file.mask, self.n_classes, self.table)
        if image_bgr.shape[:2] != label_map.shape:
            remedy = told_of_turn(file.image, image_bgr.shape, label_map.shape) or "bring both to one size"
            raise DataError(f"{file.mask}: {Size.of(label_map)}, but its image is {Size.of(image_bgr)}; {remedy}")
        return Pair(file.name, image_bgr, label_map)


def need_folder(folder: Path, expected: str) -> Path:
    """The folder itself; DataError with what was expected where it is not."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected {expected}")
    return folder


def images_in(folder: Path, prefix: str = "") -> list[Path]:
    """Image files whose name begins with `prefix`, in name order.

    Raises:
        DataError: there are none.
    """
    found = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in IMAGE_SUFFIXES and p.name.startswith(prefix)]
    if not found:
        raise DataError(f"{folder}: no .jpg or .png whose name begins with {prefix!r}")
    return found
