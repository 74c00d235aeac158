"""Which pixels of a frame stand for the others: few where the classes are sure, many where they are not.

The grid has one pixel of each block of 2x2, staggered as bricks are. Where a block is in doubt its grid pixel stands
for four, and the least sure blocks send all four themselves. Far from doubt, cells of several blocks send one pixel
between them. The trap: mean field moves contours, so doubt is taken some blocks wide.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["FRAME", "STILL", "Chosen", "Grid", "Rules", "band"]

HALVED = np.array([[0.5, 0, 0], [0, 0.5, 0]])
"""From a pixel to its place among every second one."""
SURE = float(2 * np.arctanh(0.9))
"""Log-odds from which a block is in no doubt: |Q_1 - Q_0| of 0.9."""

Plane = NDArray[np.float32]


@dataclass(frozen=True)
class Rules:
    """How many pixels are taken."""

    cell: int
    """Blocks on a side of a cell that sends one pixel."""
    margin: int
    """Blocks around doubt that send one each."""
    most_whole: float
    """Share of the blocks that may send all their pixels; the least sure ones do."""
    band: int
    """Blocks on both sides of the contour whose other pixels are looked at again in the end."""
    unsure: float
    """|Q_1 - Q_0| of the answer below which a pixel is looked at again wherever it lies."""


STILL = Rules(cell=2, margin=28, most_whole=0.12, band=2, unsure=0.9)
"""For a frame by itself."""
FRAME = Rules(cell=4, margin=2, most_whole=0.0, band=1, unsure=0.7)
"""For a frame that starts from the one before."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """The pixels that take part."""

    places: NDArray[np.int64]
    """(n,) in the frame, row by row."""
    mass: Plane
    """(n,) pixels that each stands for; they add up to the frame."""
    is_fine: NDArray[np.bool_]
    """(rows, columns) blocks that sent a pixel of their own."""
    cell: int


class Grid:
    """What depends on the frame's size alone."""

    def __init__(self, height: int, width: int) -> None:
        self.shape = (height, width)
        tops, lefts = np.arange(0, height, 2), np.arange(0, width, 2)
        self.blocks = (len(tops), len(lefts))
        tall, wide = np.minimum(height - tops, 2), np.minimum(width - lefts, 2)
        self.mass = np.asarray(tall[:, None] * wide, np.float32)
        """(rows, columns) pixels of each block: four, fewer at an odd end."""
        self._cells: dict[int, _Cells] = {}

    def choose(self, log_odds: Plane, start: Plane | None, rules: Rules) -> Chosen:
        """Choose the pixels of a frame.

        Args:
            log_odds: (h, w), of the unaries.
            start: (h, w), Q_1 - Q_0 to start from; None: those of the unaries.
        """
        odds = self._of_grid(log_odds)
        unsure = np.abs(odds)
        is_one = odds > 0
        doubt = (unsure < SURE).view(np.uint8)
        if start is not None:
            begun = self._of_grid(start)
            is_said, is_one = is_one, begun > 0
            doubt |= (np.abs(begun) < np.float32(np.tanh(SURE / 2))) | (is_said != is_one)
        edge = is_one.view(np.uint8)
        doubt |= np.asarray(cv2.morphologyEx(edge, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)), np.uint8)
        near = cv2.dilate(doubt, np.ones((2 * rules.margin + 1,) * 2, np.uint8))
        cells = self._cells_of(rules.cell)
        is_near = cells.any_of(np.asarray(near, np.uint8))
        is_fine = cells.spread(is_near).astype(np.bool_)
        block_mass = np.where(is_fine, self.mass, np.float32(0))
        is_far = is_near == 0
        block_mass.ravel()[cells.blocks[is_far]] = cells.mass[is_far]
        is_whole = self._whole(unsure, is_fine, rules.most_whole)
        mass = np.zeros(self.shape, np.float32)
        if is_whole is not None:
            height, width = self.shape
            np.copyto(mass, np.float32(1), where=_doubled(is_whole)[:height, :width])
            block_mass[is_whole] = 1
        self._put(block_mass, mass)
        places = np.flatnonzero(mass)
        return Chosen(places, mass.ravel()[places], is_fine, rules.cell)

    def enlarged(self, values: Plane, chosen: Chosen) -> tuple[Plane, Plane]:
        """What the chosen pixels have, brought to all: (rows, columns) blocks, and (h, w) between them bilinearly.

        Args:
            values: (n,), one for each of `chosen.places`.
        """
        height, width = self.shape
        every = np.zeros(height * width, np.float32)
        every[chosen.places] = values
        small = self._of_grid(every.reshape(self.shape))
        cells = self._cells_of(chosen.cell)
        np.copyto(small, cells.spread(small.ravel()[cells.blocks]), where=~chosen.is_fine)
        even = small.copy()
        staggered = even[1::2]
        staggered[:, 1:] = (staggered[:, 1:] + staggered[:, :-1]) / 2  # back to even columns
        large = cv2.warpAffine(
            even, HALVED, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        return small, np.asarray(large, np.float32)

    def _of_grid(self, plane: Plane) -> Plane:
        """(h, w) to (rows, columns): the left pixel of blocks in even rows, the right one in odd rows."""
        small = np.empty(self.blocks, np.float32)
        small[::2] = plane[::4, ::2]
        right = plane[2::4, 1::2]
        small[1::2, : right.shape[1]] = right
        small[1::2, right.shape[1] :] = plane[2::4, -1:]  # at an odd end a block has no right pixel
        return small

    def _put(self, small: Plane, plane: Plane) -> None:
        """The way back: into an (h, w) plane whose other pixels stay."""
        plane[::4, ::2] = small[::2]
        right = plane[2::4, 1::2]
        right[...] = small[1::2, : right.shape[1]]
        if right.shape[1] < small.shape[1]:
            plane[2::4, -1] = small[1::2, -1]

    @staticmethod
    def _whole(unsure: Plane, is_fine: NDArray[np.bool_], most: float) -> NDArray[np.bool_] | None:
        n_most = int(most * unsure.size)
        if not n_most:
            return None
        is_whole: NDArray[np.bool_] = unsure < SURE
        if np.count_nonzero(is_whole) > n_most:
            is_whole = np.zeros(unsure.shape, np.bool_)
            is_whole.ravel()[np.argpartition(unsure.ravel(), n_most)[:n_most]] = True
        return is_whole & is_fine

    def _cells_of(self, side: int) -> "_Cells":
        if side not in self._cells:
            self._cells[side] = _Cells(self, side)
        return self._cells[side]


def band(small: Plane, large: Plane, rules: Rules) -> NDArray[np.bool_]:
    """(h, w): what is looked at again, of the blocks' and the pixels' Q_1 - Q_0 (`Grid.enlarged`)."""
    is_one = (small > 0).astype(np.uint8)
    contour = cv2.morphologyEx(is_one, cv2.MORPH_GRADIENT, np.ones((2 * rules.band + 1,) * 2, np.uint8))
    height, width = large.shape
    near = cv2.resize(contour, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    is_near: NDArray[np.bool_] = (near > 0) | (np.abs(large) < rules.unsure)
    return is_near


class _Cells:
    """Square groups of blocks, smaller at the right and the lower end."""

    def __init__(self, grid: Grid, side: int) -> None:
        self._side = side
        self._shape = grid.blocks
        rows, columns = grid.blocks
        self._size = -(-columns // side), -(-rows // side)
        y, x = np.mgrid[: self._size[1], : self._size[0]]
        row = np.minimum(y * side + side // 2, rows - 1)
        column = np.minimum(x * side + side // 4 + y % 2 * (side // 2), columns - 1)
        self.blocks = row * columns + column
        """(cells' rows, columns) the block whose pixel stands for the cell."""
        padded = np.zeros((self._size[1] * side, self._size[0] * side), np.float32)
        padded[:rows, :columns] = grid.mass
        self.mass = padded.reshape(self._size[1], side, self._size[0], side).sum(axis=(1, 3))
        """(cells' rows, columns) pixels of each."""

    def any_of(self, blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(cells' rows, columns): the largest value of each cell's blocks."""
        around = cv2.dilate(blocks, np.ones((self._side, self._side), np.uint8), anchor=(0, 0))
        return np.ascontiguousarray(around[:: self._side, :: self._side])

    def spread(self, cells: NDArray[Any]) -> NDArray[Any]:
        """(rows, columns): each block has its cell's value."""
        size = self._size[0] * self._side, self._size[1] * self._side
        large = cv2.resize(cells, size, interpolation=cv2.INTER_NEAREST_EXACT)
        return large[: self._shape[0], : self._shape[1]]


def _doubled(blocks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    size = 2 * blocks.shape[1], 2 * blocks.shape[0]
    return cv2.resize(blocks.view(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT).view(np.bool_)
