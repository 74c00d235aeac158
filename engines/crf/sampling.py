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

from engines.crf.blocks import doubts, enlarge, gather, send, unsettled

__all__ = ["FRAME", "STILL", "Chosen", "Grid", "Rules"]

NO_START = np.empty((0, 0), np.float32)
NO_BLOCKS = np.empty((0, 0), np.bool_)
SURE = 0.9
"""|Q_1 - Q_0| of the frame before from which a block is in no doubt."""

Plane = NDArray[np.float32]


@dataclass(frozen=True)
class Rules:
    """How many pixels are taken."""

    sure: float
    """|Q_1 - Q_0| of the unaries from which a block is in no doubt."""
    cell: int
    """Blocks on a side of a cell that sends one pixel."""
    margin: int
    """Blocks around doubt that send one each."""
    most_whole: float
    """Share of the blocks that may send all their pixels; the least sure ones do."""
    band: int
    """Blocks on both sides of the contour whose other pixels are looked at again in the end; 0: none for that."""
    unsure: float
    """|Q_1 - Q_0| of the answer below which a pixel is looked at again wherever it lies."""


STILL = Rules(sure=0.9, cell=2, margin=28, most_whole=0.12, band=2, unsure=0.9)
"""For a frame by itself."""
FRAME = Rules(sure=0.5, cell=8, margin=1, most_whole=0.0, band=0, unsure=0.9)
"""For a frame that starts from the one before."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """The pixels that take part."""

    places: NDArray[np.int64]
    """(n,) in the frame, row by row."""
    mass: Plane
    """(n,) pixels that each stands for; they add up to the frame."""
    is_near: NDArray[np.uint8]
    """(cells' rows, cells' columns) whose blocks sent a pixel each."""


class Grid:
    """What depends on the frame's size alone."""

    def __init__(self, height: int, width: int) -> None:
        self.shape = (height, width)
        self.blocks = ((height + 1) // 2, (width + 1) // 2)
        self._cells: dict[int, _Cells] = {}

    def choose(self, log_odds: Plane, start: Plane | None, rules: Rules) -> Chosen:
        """Choose the pixels of a frame.

        Args:
            log_odds: (h, w), of the unaries.
            start: (h, w), Q_1 - Q_0 to start from; None: those of the unaries.
        """
        is_one, doubt = np.empty(self.blocks, np.uint8), np.empty(self.blocks, np.uint8)
        unsure: Plane = np.empty(self.blocks, np.float32)
        begun = NO_START if start is None else start
        sure_odds = np.float32(2 * np.arctanh(rules.sure))
        doubts(log_odds, begun, sure_odds, np.float32(SURE), is_one, doubt, unsure)
        doubt |= _contour(is_one, 1)
        cells = self._cells_of(rules.cell)
        near = cells.any_of(cv2.dilate(doubt, np.ones((2 * rules.margin + 1,) * 2, np.uint8)))
        is_whole = _least_sure(unsure, sure_odds, rules.most_whole)
        height, width = self.shape
        places, mass = np.empty(height * width, np.int64), np.empty(height * width, np.float32)
        n = send(near, is_whole, rules.cell, height, width, cells.columns, cells.mass, places, mass)
        return Chosen(places[:n], mass[:n], near)

    def enlarged(self, values: Plane, chosen: Chosen, rules: Rules) -> tuple[Plane, Plane]:
        """What the chosen pixels have, brought to all: (rows, columns) blocks, and (h, w) between them bilinearly.

        Args:
            values: (n,), one for each of `chosen.places`.
        """
        small, even = np.empty(self.blocks, np.float32), np.empty(self.blocks, np.float32)
        large: Plane = np.empty(self.shape, np.float32)
        columns = self._cells_of(rules.cell).columns
        gather(values, chosen.places, self.shape[1], chosen.is_near, rules.cell, columns, small)
        enlarge(small, even, large)
        return small, large

    def unsettled(self, small: Plane, large: Plane, chosen: Chosen, rules: Rules) -> NDArray[np.int64]:
        """(n,) places of what is looked at again, of the blocks' and the pixels' Q_1 - Q_0 (`enlarged`)."""
        pixels = np.empty(large.size, np.int64)
        contour = _contour((small > 0).view(np.uint8), rules.band)
        n = unsettled(large, contour, np.float32(rules.unsure), chosen.places, pixels)
        return pixels[:n]

    def _cells_of(self, side: int) -> "_Cells":
        if side not in self._cells:
            self._cells[side] = _Cells(self, side)
        return self._cells[side]


class _Cells:
    """Square groups of blocks, smaller at the right and the lower end."""

    def __init__(self, grid: Grid, side: int) -> None:
        self._side = side
        rows, columns = grid.blocks
        high, wide = -(-rows // side), -(-columns // side)
        y, x = np.mgrid[:high, :wide]
        self.columns = np.asarray(np.minimum(x * side + side // 4 + y % 2 * (side // 2), columns - 1), np.int64)
        """(cells' rows, cells' columns) the column of the block whose pixel stands for the cell; staggered."""
        height, width = grid.shape
        tall = np.diff(np.minimum(np.arange(high + 1) * 2 * side, height))
        self.mass = np.asarray(tall[:, None] * np.diff(np.minimum(np.arange(wide + 1) * 2 * side, width)), np.float32)
        """(cells' rows, cells' columns) pixels of each."""

    def any_of(self, blocks: NDArray[Any]) -> NDArray[np.uint8]:
        """(cells' rows, cells' columns): the largest value of each cell's blocks."""
        around = cv2.dilate(blocks, np.ones((self._side, self._side), np.uint8), anchor=(0, 0))
        return np.ascontiguousarray(around[:: self._side, :: self._side])


def _contour(is_one: NDArray[np.uint8], reach: int) -> NDArray[np.uint8]:
    """Where not all blocks so near say the same."""
    return np.asarray(cv2.morphologyEx(is_one, cv2.MORPH_GRADIENT, np.ones((2 * reach + 1,) * 2, np.uint8)), np.uint8)


def _least_sure(unsure: Plane, sure_odds: np.float32, most: float) -> NDArray[np.bool_]:
    """The share of the blocks that may send all their pixels, of those that are in doubt."""
    n_most = int(most * unsure.size)
    if not n_most:
        return NO_BLOCKS
    is_whole: NDArray[np.bool_] = unsure < sure_odds
    if np.count_nonzero(is_whole) > n_most:
        is_whole = np.zeros(unsure.shape, np.bool_)
        is_whole.ravel()[np.argpartition(unsure.ravel(), n_most)[:n_most]] = True
    return is_whole
