"""Is a data set fit to train on? Every fault is found, not only the first.

Faults make a data set unfit: half pairs, unreadable files, sizes that differ, values that are no class, one name
twice. Remarks are worth a look: pictures without any labelled thing may be wanted. The trap: a binary mask of 0 and 255
looks right and teaches nothing, because 255 is ignored.
"""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.data import IGNORE
from engines.data.datasets import DatasetOptions, Format, format_of, listed
from engines.data.formats.files import FilePair, PairFiles
from engines.data.known import KNOWN
from engines.data.orientation import UPRIGHT, is_laid_over, orientation_of, told_of_turn
from engines.data.pairs import Dataset, read_image, read_indices
from engines.errors import DataError
from engines.size import Size

__all__ = ["DataReport", "check"]

ORPHAN_PATTERNS = {Format.FOLDER: "*.png", Format.CAMVID: "*.png", Format.CITYSCAPES: "*_gtFine_labelIds.png"}
"""Formats whose folders of labels hold nothing but the split's own."""
ALL_VALUES = 256
TURNED = "turned by EXIF; see whether the mask was drawn on the turned picture"
"""A remark: by half a turn or mirrored, so that the sizes agree in any case."""
JPEG_START, JPEG_SCAN, JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"


@dataclass
class DataReport:
    """What was found."""

    classes: tuple[str, ...]
    n_pictures: int = 0
    n_read: int = 0
    """Pictures whose labels could be counted."""
    faults: dict[str, list[str]] = field(default_factory=dict)
    """Kind -> what and where."""
    remarks: dict[str, list[str]] = field(default_factory=dict)
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(ALL_VALUES, np.int64))
    """(256,) how many pixels hold each value."""
    pictures: NDArray[np.int64] = field(default_factory=lambda: np.zeros(ALL_VALUES, np.int64))
    """(256,) how many pictures hold each value."""
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    """(width, height) -> pictures."""

    @property
    def is_fit(self) -> bool:
        """Whether there is no fault."""
        return not self.faults

    def shares(self) -> Iterator[tuple[int | None, str, float, float]]:
        """Class (None for ignored pixels), its name, its share of all pixels, of all pictures."""
        n_pixels, n_pictures = max(1, int(self.pixels.sum())), max(1, self.n_read)
        rows = [(index, name) for index, name in enumerate(self.classes)] + [(None, "ignored (255)")]
        for index, name in rows:
            value = IGNORE if index is None else index
            yield index, name, float(self.pixels[value] / n_pixels), float(self.pictures[value] / n_pictures)

    def as_json(self) -> dict[str, Any]:
        """Plain values; every fault, not the first few."""
        return {
            "is_fit": self.is_fit,
            "pictures": self.n_pictures,
            "classes": [
                {"index": index, "name": name, "pixels": round(of_pixels, 6), "pictures": round(of_pictures, 6)}
                for index, name, of_pixels, of_pictures in self.shares()
            ],
            "sizes": {str(size): n for size, n in self.sizes.most_common()},
            "faults": self.faults,
            "remarks": self.remarks,
        }


@dataclass(frozen=True)
class _Seen:
    """What one picture gave."""

    name: str
    size: Size | None = None
    counts: NDArray[np.int64] | None = None
    fault: tuple[str, str] | None = None
    is_undecided: bool = False
    """A turned photograph whose mask would have the same size unturned."""


def check(options: DatasetOptions, classes: tuple[str, ...] | None = None, n_threads: int = 2) -> DataReport:
    """Look at every picture and label of a data set.

    Args:
        classes: None takes the format's own, or as many as the labels hold.

    Raises:
        DataError: there is no data set at all.
    """
    known = KNOWN.get(format_of(options))
    classes = classes or (known.names if known is not None else None)
    dataset = listed(options, IGNORE if classes is None else len(classes))
    classes = classes or dataset.classes
    report = DataReport(classes or (), len(dataset))
    with ThreadPoolExecutor(n_threads) as pool:
        seen = list(pool.map(lambda index: _look(dataset, index), range(len(dataset))))
    for one in seen:
        if one.fault is not None:
            report.faults.setdefault(one.fault[0], []).append(one.fault[1])
        if one.size is not None:
            report.sizes[one.size] += 1
        if one.counts is not None:
            report.n_read += 1
            report.pixels += one.counts
            report.pictures += one.counts > 0
    if classes is None:
        highest = int(np.flatnonzero(report.pixels[:IGNORE]).max(initial=0))
        report.classes = tuple(f"class {index}" for index in range(highest + 1))
    _check_names(dataset, options, report)
    _check_values(seen, report)
    return report


def _look(dataset: Dataset, index: int) -> _Seen:
    if isinstance(dataset, PairFiles):
        return _look_at_files(dataset.files[index], dataset.table)
    try:
        pair = dataset[index]
    except DataError as error:
        return _Seen(dataset.names[index], fault=("unreadable", str(error)))
    return _Seen(pair.name, Size.of(pair.image_bgr), _counts(pair.label_map))


def _look_at_files(file: FilePair, table: NDArray[np.uint8] | None) -> _Seen:
    if file.mask is not None and not file.mask.is_file():
        return _Seen(file.name, fault=("images without a mask", f"{file.image.name}: no {file.mask}"))
    try:
        image_bgr = read_image(file.image)
        label_map = np.full(image_bgr.shape[:2], IGNORE, np.uint8) if file.mask is None else read_indices(file.mask)
    except DataError as error:
        return _Seen(file.name, fault=("unreadable", str(error)))
    fault = None
    torn = [path for path in (file.image, file.mask) if path is not None and _is_torn(path)]
    if torn:
        fault = ("torn files", f"{torn[0]}: the end is missing, copy it again")
    size = Size.of(image_bgr)
    if Size.of(label_map) != size:
        turned = told_of_turn(file.image, image_bgr.shape, label_map.shape)
        told = f"{file.name}: mask {Size.of(label_map)}, image {size}{'; ' if turned else ''}{turned}"
        fault = ("masks of unturned photographs" if turned else "sizes that differ", told)
    counts = _counts(label_map if table is None else table[label_map])
    return _Seen(file.name, size, counts, fault, fault is None and _is_undecided(file, size))


def _is_undecided(file: FilePair, size: Size) -> bool:
    """Whether a mask may lie on its photograph as it is stored, and its size does not tell."""
    if file.mask is None or (orientation := orientation_of(file.image)) == UPRIGHT:
        return False
    is_same_size = size.width == size.height or not is_laid_over(orientation)
    return is_same_size and orientation_of(file.mask) == UPRIGHT


def _is_torn(path: Path) -> bool:
    """Whether a file ends too early: decoders fill up what is missing with grey, and say nothing."""
    data = path.read_bytes()
    if data[:2] == JPEG_START:
        # No marker but stuffed zeros and restarts can stand inside the pixels' data (ITU-T T.81, B.1.1.5).
        return data.rfind(JPEG_END) < data.rfind(JPEG_SCAN)
    return data[:4] == b"\x89PNG" and b"IEND" not in data[-64:]


def _counts(label_map: NDArray[np.uint8]) -> NDArray[np.int64]:
    return np.bincount(label_map.ravel(), minlength=ALL_VALUES)


def _check_names(dataset: Dataset, options: DatasetOptions, report: DataReport) -> None:
    twice = [name for name, n in Counter(dataset.names).items() if n > 1]
    if twice:
        report.faults["one name twice"] = [f"{name}: two images share one mask" for name in sorted(twice)]
    pattern = ORPHAN_PATTERNS.get(format_of(options))
    if pattern is None or not isinstance(dataset, PairFiles):
        return
    masks = {file.mask for file in dataset.files if file.mask is not None}
    lonely = _unclaimed(masks, pattern, options.prefix)
    if lonely:
        report.faults["masks without an image"] = [str(path) for path in lonely]


def _unclaimed(masks: set[Path], pattern: str, prefix: str) -> list[Path]:
    there = {path for folder in {mask.parent for mask in masks} for path in folder.glob(pattern)}
    return sorted(path for path in there - masks if path.name.startswith(prefix))


def _check_values(seen: list[_Seen], report: DataReport) -> None:
    n_classes = len(report.classes)
    counted = [(one.name, one.counts) for one in seen if one.counts is not None]
    for value in np.flatnonzero(report.pictures[n_classes:IGNORE]) + n_classes:
        first = next(name for name, counts in counted if counts[value])
        told = f"value {value}: in {report.pictures[value]} masks, {report.pixels[value]} pixels; the first is {first}"
        report.faults.setdefault("values that are no class", []).append(told)
    void = [name for name, counts in counted if not counts[:IGNORE].any()]
    bare = [name for name, counts in counted if counts[0] and not counts[1:IGNORE].any()]
    never = [name for index, name, of_pixels, _ in report.shares() if index is not None and not of_pixels]
    undecided = [one.name for one in seen if one.is_undecided]
    kinds = (("all pixels ignored (255)", void), ("class 0 alone", bare), ("never occurs", never), (TURNED, undecided))
    for kind, names in kinds:
        if names:
            report.remarks[kind] = names
    if n_classes > 0 and not report.pixels[1:IGNORE].any() and report.pixels[IGNORE] and report.pixels[0]:
        told = "labels are 0 and 255 only, and 255 is ignored; write the class's index (1) instead of 255"
        report.faults["nothing to learn"] = [told]
