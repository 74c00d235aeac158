"""Cityscapes: `leftImg8bit/SPLIT/CITY/*_leftImg8bit.png` with `gtFine/SPLIT/CITY/*_gtFine_labelIds.png`.

The trap: `labelIds` are 0..33; training uses 19 `trainIds`, everything else is 255. `labelTrainIds` files, which the
data set's own scripts write, are not needed.
"""

from pathlib import Path

import numpy as np

from engines.data import IGNORE
from engines.data.formats.files import FilePair, PairFiles, need_folder
from engines.data.known import CITYSCAPES, CITYSCAPES_LABEL_IDS
from engines.errors import DataError

__all__ = ["cityscapes"]

IMAGE_END = "_leftImg8bit.png"


def cityscapes(root: Path, n_classes: int, split: str, prefix: str = "") -> PairFiles:
    """The pairs of one split, in the order of city and name.

    Raises:
        DataError: no such folder, or no picture with the prefix.
    """
    split = split or "train"
    images = need_folder(root / "leftImg8bit" / split, f"leftImg8bit/{split} and gtFine/{split} in {root}")
    labels = root / "gtFine" / split
    files = [
        FilePair(stem, path, labels / path.parent.name / f"{stem}_gtFine_labelIds.png")
        for path in sorted(images.glob(f"*/*{IMAGE_END}"))
        if (stem := path.name.removesuffix(IMAGE_END)).startswith(prefix)
    ]
    if not files:
        raise DataError(f"{images}: no CITY/*{IMAGE_END} whose name begins with {prefix!r}")
    table = np.full(256, IGNORE, np.uint8)
    table[list(CITYSCAPES_LABEL_IDS)] = np.arange(len(CITYSCAPES_LABEL_IDS), dtype=np.uint8)
    return PairFiles(files, n_classes, CITYSCAPES.names, table)
