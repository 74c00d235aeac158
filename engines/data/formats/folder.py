"""A folder with `images/NAME.jpg|png` and `masks/NAME.png`: same name, same size, mask value = class.

The trap: label files look black in a viewer (0 and 1), and a JPEG mask is never right.
"""

from pathlib import Path

from engines.data.formats.files import FilePair, PairFiles, images_in, need_folder

__all__ = ["Folder", "folder", "frames"]


def folder(root: Path, n_classes: int, prefix: str = "") -> PairFiles:
    """The pairs of a folder, in name order.

    Raises:
        DataError: no such folder, or no image with the prefix.
    """
    expected = f"images/NAME.jpg and masks/NAME.png in {root}"
    images, masks = need_folder(root / "images", expected), need_folder(root / "masks", expected)
    files = [FilePair(path.stem, path, masks / f"{path.stem}.png") for path in images_in(images, prefix)]
    return PairFiles(files, n_classes)


class Folder(PairFiles):
    """The pairs of a folder, complete.

    Raises:
        DataError: as `folder`, or an image without a mask.
    """

    def __init__(self, root: Path, n_classes: int, prefix: str = "") -> None:
        super().__init__(folder(root, n_classes, prefix).files, n_classes)
        self.require_masks()


def frames(root: Path, n_classes: int, prefix: str = "") -> PairFiles:
    """Pictures without labels (every pixel 255), in `root` or `root/images`: for distillation.

    Raises:
        DataError: no such folder, or no image with the prefix.
    """
    need_folder(root, "a folder of pictures")
    inner = root / "images"
    pictures = images_in(inner if inner.is_dir() else root, prefix)
    return PairFiles([FilePair(path.stem, path, None) for path in pictures], n_classes)
