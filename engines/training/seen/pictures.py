"""Pictures beside what was drawn over them, for TensorBoard: the same few at every evaluation.

They are read once, spread evenly over the set, so that one sees the same places become right. The trap:
ignored pixels (255) have no colour in the palette; they are shown white.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.data import IGNORE

if TYPE_CHECKING:
    from engines.data.datasets import Pair

__all__ = ["coloured", "grid", "spread"]

Image = NDArray[np.uint8]

CELL_PX = 192
"""Width and greatest height of a picture in a grid."""
GAP_PX = 4
STRENGTH = 0.6
IGNORED_BGR = (255, 255, 255)


def spread(pairs: Iterable["Pair"], n_pairs: int, n_wanted: int) -> list["Pair"]:
    """A few pictures of a set of `n_pairs`, evenly spread; all of them when it has no more."""
    wanted = {int(place) for place in np.linspace(0, n_pairs - 1, min(n_wanted, n_pairs)).round()}
    return [pair for index, pair in enumerate(pairs) if index in wanted]


def coloured(image_bgr: Image, label_map: Image, palette: Sequence[tuple[int, int, int]]) -> Image:
    """Classes in their colours over the picture in grey, the first class without any; ignored pixels white.

    Args:
        image_bgr: (H, W, 3).
        label_map: (H, W), values below len(palette), or 255.
        palette: (R, G, B) of each class.
    """
    table = np.zeros((256, 3), np.float32)
    table[: len(palette)] = np.array(palette, np.float32)[:, ::-1]
    table[IGNORE] = IGNORED_BGR
    strength = np.full((256, 1), STRENGTH, np.float32)
    strength[0] = 0
    # Over the picture's own colours, red on green would be a brown that is in no legend.
    grey = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY)[..., None]
    mixed = grey * (1 - strength[label_map]) + table[label_map] * strength[label_map]
    return np.asarray(mixed + 0.5, np.uint8)


def grid(rows: Sequence[Sequence[Image]]) -> Image:
    """Pictures of any sizes as one: (H, W, 3) uint8, the cells on dark grey, no higher than the highest picture."""
    cells = [[_fitted(image) for image in row] for row in rows]
    cell_height = max(cell.shape[0] for row in cells for cell in row)
    down, across = cell_height + GAP_PX, CELL_PX + GAP_PX
    sheet = np.full((len(cells) * down + GAP_PX, max(map(len, cells)) * across + GAP_PX, 3), 40, np.uint8)
    for row, images in enumerate(cells):
        for column, cell in enumerate(images):
            top = GAP_PX + row * down + (cell_height - cell.shape[0]) // 2
            left = GAP_PX + column * across + (CELL_PX - cell.shape[1]) // 2
            sheet[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
    return sheet


def _fitted(image: Image) -> Image:
    height, width = image.shape[:2]
    scale = CELL_PX / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(
        cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST), np.uint8
    )
