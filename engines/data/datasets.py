"""The door to every data set: what a config or a command line names becomes a `Dataset`.

A format is one file in `engines.data.formats` and one line in `_OPENERS`. This file works without torch.
"""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import Field

from configs import Options
from engines.data import IGNORE
from engines.data.formats.camvid import camvid
from engines.data.formats.cityscapes import cityscapes
from engines.data.formats.clip import Clip, clip_of_background
from engines.data.formats.coco import Coco
from engines.data.formats.files import PairFiles
from engines.data.formats.folder import Folder, folder, frames
from engines.data.formats.shapes import Shapes
from engines.data.formats.voc import voc
from engines.data.pairs import IMAGE_SUFFIXES, Dataset, Pair, read_image, read_label_map
from engines.data.views import Part
from engines.errors import DataError

__all__ = [
    "FORMATS", "IMAGE_SUFFIXES", "Dataset", "DatasetOptions", "Distrust", "Folder", "Format", "Pair", "Source",
    "clip_of_background", "format_of", "listed", "open_dataset", "read_image", "read_label_map",
]  # fmt: skip


class Format(StrEnum):
    """How a data set lies on disk."""

    FOLDER = "folder"
    """`images/` and `masks/`."""
    VOC = "voc"
    CITYSCAPES = "cityscapes"
    CAMVID = "camvid"
    COCO = "coco"
    CLIP = "clip"
    """A video file: all background, or unlabelled."""
    FRAMES = "frames"
    """A folder of pictures without labels."""
    SHAPES = "shapes"
    """Generated; needs no path."""


class Distrust(StrEnum):
    """Which labels of a source may be wrong."""

    NOTHING = "nothing"
    BACKGROUND = "background"
    """Subjects that nobody labelled, such as a crowd."""
    SUBJECT = "subject"
    """Things that are labelled as the subject and are not, such as a board."""


class DatasetOptions(Options):
    """Which pictures."""

    path: Path = Path()
    """A folder, a video file, or COCO's annotation file; `shapes` needs none."""
    format: Format | None = None
    """None: a file is a `clip`, a folder a `folder`."""
    prefix: str = ""
    """Only pictures whose name begins so."""
    split: str = ""
    """Part of the data set, such as `val`; empty for the training part."""
    label: Literal["background", "none"] = "background"
    """What a clip's pixels are: class 0, or unlabelled (255)."""
    every: int = Field(1, gt=0)
    """Only every n-th picture or frame."""
    categories: tuple[str, ...] = ("person",)
    """COCO's names of class 1, 2, ..."""
    images: Path | None = None
    """COCO's pictures, where they are not in the folder named as the split."""
    n_pictures: int = Field(1000, gt=0)
    """How many `shapes` are generated."""


class Source(DatasetOptions):
    """Pictures to train on, and how often they are drawn."""

    share: float = Field(1.0, gt=0)
    """How often it is drawn, against the other sources' shares."""
    distrust: Distrust = Distrust.NOTHING
    """Labels of this side become 255 where the teacher contradicts them."""
    distrust_scale: float = Field(2.0, gt=0, le=4)
    """The teacher looks at a picture so much larger: spectators are small, and missing one costs more than time."""
    is_distilled: bool = False
    """Its crops also get the teacher's soft labels."""
    is_backdrop: bool = False
    """Without subjects: those of other sources may be pasted onto it (`augment.paste_share`)."""


def open_dataset(options: DatasetOptions, classes: int | tuple[str, ...]) -> Dataset:
    """The pictures that `options` names.

    Args:
        classes: how many, or their names: those of a format that has its own must then be the same, in the same order.

    Raises:
        DataError: nothing there, half a pair, or other classes than the format has.
    """
    n_classes = classes if isinstance(classes, int) else len(classes)
    dataset = listed(options, n_classes)
    if isinstance(dataset, PairFiles):
        dataset.require_masks()
    own = dataset.classes
    if own is not None and len(own) != n_classes:
        raise DataError(
            f"{options.path}: {format_of(options)} has {len(own)} classes "
            f"({', '.join(own)}), but {n_classes} are asked for; name them all in `classes`"
        )
    if own is not None and not isinstance(classes, int) and _plain(own) != _plain(classes):
        raise DataError(
            f"{options.path}: {format_of(options)} has the classes {', '.join(own)}, but {', '.join(classes)} are "
            "asked for; labels are numbers, so they must be the same classes in the same order"
        )
    # A clip was thinned while it was decoded.
    if options.every > 1 and not isinstance(dataset, Clip):
        return Part(dataset, range(0, len(dataset), options.every))
    return dataset


def _plain(names: tuple[str, ...]) -> list[str]:
    """Without what people write in different ways: capitals, spaces, underscores."""
    return [name.lower().replace(" ", "").replace("_", "") for name in names]


def listed(options: DatasetOptions, n_classes: int) -> Dataset:
    """The pictures that `options` names, whether or not every one has its labels; for `check-data`.

    Raises:
        DataError: nothing there.
    """
    return _OPENERS[format_of(options)](options, n_classes)


def format_of(options: DatasetOptions) -> Format:
    """The format that is named, or that fits the path."""
    return options.format or (Format.CLIP if options.path.is_file() else Format.FOLDER)


_OPENERS: dict[Format, Callable[[DatasetOptions, int], Dataset]] = {
    Format.FOLDER: lambda o, n: folder(o.path, n, o.prefix),
    Format.VOC: lambda o, n: voc(o.path, n, o.split, o.prefix),
    Format.CITYSCAPES: lambda o, n: cityscapes(o.path, n, o.split, o.prefix),
    Format.CAMVID: lambda o, n: camvid(o.path, n, o.split, o.prefix),
    Format.COCO: lambda o, _: Coco(o.path, o.categories, o.split, o.prefix, o.images),
    Format.CLIP: lambda o, _: Clip(o.path, IGNORE if o.label == "none" else 0, o.every),
    Format.FRAMES: lambda o, n: frames(o.path, n, o.prefix),
    Format.SHAPES: lambda o, n: Shapes(n, o.n_pictures, o.split),
}
FORMATS = tuple(str(format) for format in Format)
"""Names on a command line."""
