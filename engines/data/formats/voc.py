"""Pascal VOC 2012: `JPEGImages`, palettised `SegmentationClass`, lists in `ImageSets/Segmentation`.

Splits are `train`, `val`, `trainval`, and `train_aug` or `trainaug` (Hariharan et al. 2011, 10582 pictures), whose
masks lie in `SegmentationClassAug`. A list holds `NAME` or `/JPEGImages/NAME.jpg /SegmentationClassAug/NAME.png`.
The trap: the masks' contours are 255, a void band of five pixels, and belong to no class.
"""

from pathlib import Path

from engines.data.formats.files import FilePair, PairFiles, need_folder
from engines.data.known import VOC
from engines.errors import DataError

__all__ = ["voc"]


def voc(root: Path, n_classes: int, split: str, prefix: str = "") -> PairFiles:
    """The pairs of one list.

    Args:
        root: `VOCdevkit/VOC2012`, or a folder that holds it.
        split: a list's name without `.txt`; empty for `train`.

    Raises:
        DataError: no such folder or list, or no picture with the prefix.
    """
    candidates = (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012")
    root = next((folder for folder in candidates if (folder / "JPEGImages").is_dir()), root)
    need_folder(root / "JPEGImages", "a VOCdevkit/VOC2012 with JPEGImages, SegmentationClass and ImageSets")
    listed = _lines(root, split or "train")
    files = [_pair(root, line, is_augmented="aug" in split.lower()) for line in listed]
    files = [file for file in files if file.name.startswith(prefix)]
    if not files:
        raise DataError(f"{root}: no picture of split {split!r} whose name begins with {prefix!r}")
    return PairFiles(files, n_classes, VOC.names)


def _lines(root: Path, split: str) -> list[str]:
    names = (split, "train_aug", "trainaug") if split in {"train_aug", "trainaug"} else (split,)
    lists = root / "ImageSets" / "Segmentation"
    for path in [folder / f"{name}.txt" for name in names for folder in (lists, root)]:
        if path.is_file():
            return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    there = ", ".join(sorted(path.stem for path in lists.glob("*.txt"))) or "none"
    raise DataError(f"{lists}: no list {split}.txt; there are: {there}")


def _pair(root: Path, line: str, is_augmented: bool) -> FilePair:
    image, _, mask = line.partition(" ")
    if mask:
        return FilePair(Path(image).stem, root / image.lstrip("/"), root / mask.strip().lstrip("/"))
    augmented = root / "SegmentationClassAug" / f"{image}.png"
    plain = root / "SegmentationClass" / f"{image}.png"
    return FilePair(image, root / "JPEGImages" / f"{image}.jpg", augmented if is_augmented else plain)
