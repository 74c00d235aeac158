"""A folder with `images/NAME.jpg|png` and `masks/NAME.png`: same name, same size, mask value = class.

The trap: label files look black in a viewer (0 and 1), and a JPEG mask is never right.
"""

from pathlib import Path

from engines.data.formats.files import FilePair, PairFiles, images_in, need_folder
from engines.errors import DataError

__all__ = ["Folder", "frames"]


class Folder(PairFiles):
    """The pairs of a folder, in name order.

    Raises:
        DataError: no such folder, no image with the prefix, or an image without a mask.
    """

    def __init__(self, root: Path, n_classes: int, prefix: str = "") -> None:
        expected = f"images/NAME.jpg and masks/NAME.png in {root}"
        images = need_folder(root / "images", expected)
        masks = need_folder(root / "masks", expected)
        files = [FilePair(path.stem, path, masks / f"{path.stem}.png") for path in images_in(images, prefix)]
        lonely = [file.image.name for file in files if file.mask is None or not file.mask.is_file()]
        if lonely:
            raise DataError(f"{masks}: {len(lonely)} images have no mask, the first is {lonely[0]}")
        super().__init__(files, n_classes)


def frames(root: Path, n_classes: int, prefix: str = "") -> PairFiles:
    """Pictures without labels (every pixel 255), in `root` or `root/images`: for distillation.

    Raises:
        DataError: no such folder, or no image with the prefix.
    """
    need_folder(root, "a folder of pictures")
    inner = root / "images"
    folder = inner if inner.is_dir() else root
    return PairFiles([FilePair(path.stem, path, None) for path in images_in(folder, prefix)], n_classes)
