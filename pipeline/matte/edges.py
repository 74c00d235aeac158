"""Puts the edges of an engine's alpha on the edges of the picture.

A guided filter (He et al., 2013) with the colour picture as guide: within a small window alpha is a linear function of
colour. As in the fast form (He and Sun, 2015) the functions are found on a grid of cells, several pixels each, and
enlarged; the picture itself is looked at in full, but only where the contour runs. What the engine says nearby bounds
the answer: texture in the subject's colours, away from its contour, is not the subject. The trap: the grid's cells are
all of the same whole number of pixels, so the last ones may hang over the frame.
"""

import math
import re

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["GuidedEdges"]

RADIUS_CELLS = 2
"""Of the window: 5 cells are 40 px at 1280x720. On 49 photographs 1 and 4 follow boundaries less well (2 px)."""
EPSILON = 1e-4
"""Variance of colour (0..1) below which the window counts as flat: a standard deviation of 2.5 levels."""
STEEPER_BEFORE, STEEPER_AFTER = 1.25, 1.6
"""The window softens alpha and an engine's own is soft already; both are made steeper around one half, which moves no
contour and lowers the mean difference from true masks by a third."""
ENGINE_PX = 3
"""A cell is about so many pixels of the engine; its own answer has one in four. On photographs in portrait format
twice as much loses half of the gain, half as much costs four times the work."""

REACH_CELLS = 1
"""How far from the engine's own contour another may be found."""

TILE_HEIGHT_PX, TILE_WIDTH_PX = 64, 32
_MARGIN = 40.0
"""A cell whose alpha lies this far beyond 0 or 255 is not looked into, unless one beside it is."""
_RUNS = re.compile(rb"\x01+")

Bytes = NDArray[np.uint8]
Planes = NDArray[np.float32]


class GuidedEdges:
    """Edge-aware enlargement for one frame size and one size of alpha; owns its memory."""

    def __init__(self, height: int, width: int, inner_height: int, inner_width: int) -> None:
        """`inner_*`: of the engine's alpha without bars."""
        finest = max(height / inner_height, width / inner_width) * ENGINE_PX
        cell = 2 ** max(0, round(math.log2(finest)))
        while cell > min(height, width):
            cell //= 2
        rows, columns = -(-height // cell), -(-width // cell)
        self.cell_px, self._height, self._width = cell, height, width
        self._whole = height // cell, width // cell
        self._halves = [
            np.empty((self._whole[0] * cell >> level, self._whole[1] * cell >> level, 3), np.uint8)
            for level in range(1, cell.bit_length())
        ]
        self._cells_bgr = np.empty((rows, columns, 3), np.uint8)
        # Where a cell's centre lies in the engine's alpha, by half-pixel centres.
        scale_x, scale_y = inner_width / width, inner_height / height
        self._to_alpha = np.array(
            [
                [cell * scale_x, 0, (cell * scale_x - 1) / 2],
                [0, cell * scale_y, (cell * scale_y - 1) / 2],
            ]
        )
        self._cell_alpha = np.empty((rows, columns), np.uint8)
        self._least, self._most = np.empty((rows, columns), np.uint8), np.empty((rows, columns), np.uint8)
        self._line = _LocalLine(rows, columns)
        self._slopes: Planes = np.empty((rows, columns, 3), np.float32)
        self._offset: Planes = np.empty((rows, columns), np.float32)
        self._coarse: Planes = np.empty((rows, columns), np.float32)
        self._coarse_u8 = np.empty((rows, columns), np.uint8)
        self._enlarged = np.empty((rows * cell, columns * cell), np.uint8)
        self._is_mixed = np.empty((rows, columns), np.uint8)
        self._tile = max(1, TILE_HEIGHT_PX // cell), max(1, TILE_WIDTH_PX // cell)
        self._tops = np.arange(0, rows, self._tile[0])
        self._lefts = np.arange(0, columns, self._tile[1])
        self._by_row = np.empty((len(self._tops), columns), np.uint8)
        self._kinds = np.empty((len(self._tops), len(self._lefts)), np.uint8)
        scratch = (self._tile[0] + 2) * cell, (columns + 2) * cell
        self._slopes_px: Planes = np.empty((*scratch, 3), np.float32)
        self._offset_px: Planes = np.empty(scratch, np.float32)
        self._bound = np.empty(scratch, np.uint8)
        self._product: Planes = np.empty((*scratch, 3), np.float32)
        self._sum: Planes = np.empty(scratch, np.float32)

    def refine(self, alpha: Bytes, image_bgr: Bytes, out: Bytes) -> None:
        """Enlarge an alpha with a picture as guide.

        Args:
            alpha: (h, w) of the engine's size, without bars.
            image_bgr: (height, width, 3), the frame that the alpha is of.
            out: (height, width); every pixel is written.
        """
        self._shrink(image_bgr)
        rows, columns = self._cell_alpha.shape
        cv2.warpAffine(
            alpha,
            self._to_alpha,
            (columns, rows),
            dst=self._cell_alpha,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        self._line.fit(self._cell_alpha, self._cells_bgr, self._slopes, self._offset)
        self._line.at_cells(self._coarse)
        steep = cv2.LUT(self._cell_alpha, _STEEPER)
        cv2.erode(steep, _REACH, dst=self._least)
        cv2.dilate(steep, _REACH, dst=self._most)
        np.clip(self._coarse, self._least, self._most, out=self._line.scratch)
        np.copyto(self._coarse_u8, self._line.scratch, casting="unsafe")
        self._enlarge_coarse(out)
        self._find_mixed()
        height, width = self._tile
        for row, kinds in enumerate(self._kinds):
            for run in _RUNS.finditer(kinds.tobytes()):
                top, left = row * height, run.start() * width
                bottom, right = min(top + height, rows), min(run.end() * width, columns)
                self._refine_cells(image_bgr, out, top, bottom, left, right)

    def _shrink(self, image_bgr: Bytes) -> None:
        cell = self.cell_px
        rows, columns = self._whole
        source = image_bgr[: rows * cell, : columns * cell]
        for half in self._halves:
            cv2.resize(source, (half.shape[1], half.shape[0]), dst=half, interpolation=cv2.INTER_LINEAR)
            source = half
        cells = self._cells_bgr
        cells[:rows, :columns] = source
        # Cells that hang over the frame are the mean of what they hold.
        if rows < cells.shape[0]:
            cells[rows:, :columns] = _mean(image_bgr[rows * cell :, : columns * cell], 1, columns)
        if columns < cells.shape[1]:
            cells[:rows, columns:] = _mean(image_bgr[: rows * cell, columns * cell :], rows, 1)
            if rows < cells.shape[0]:
                cells[rows:, columns:] = _mean(image_bgr[rows * cell :, columns * cell :], 1, 1)

    def _enlarge_coarse(self, out: Bytes) -> None:
        size = (self._enlarged.shape[1], self._enlarged.shape[0])
        fits = self._enlarged.shape == out.shape
        target = out if fits else self._enlarged
        cv2.resize(self._coarse_u8, size, dst=target, interpolation=cv2.INTER_LINEAR)
        if not fits:
            np.copyto(out, target[: self._height, : self._width])

    def _find_mixed(self) -> None:
        cv2.inRange(self._coarse, -_MARGIN, 255 + _MARGIN, dst=self._is_mixed)
        cv2.dilate(self._is_mixed, _NEIGHBOURS, dst=self._is_mixed)
        np.maximum.reduceat(self._is_mixed, self._tops, axis=0, out=self._by_row)
        np.maximum.reduceat(self._by_row, self._lefts, axis=1, out=self._kinds)
        np.minimum(self._kinds, 1, out=self._kinds)

    def _refine_cells(self, image_bgr: Bytes, out: Bytes, top: int, bottom: int, left: int, right: int) -> None:
        rows, columns = self._coarse.shape
        cell = self.cell_px
        # One more cell on each side: a pixel lies between the centres of two cells.
        above, before = max(0, top - 1), max(0, left - 1)
        cells = (slice(above, min(rows, bottom + 1)), slice(before, min(columns, right + 1)))
        slopes, offset = self._slopes[cells], self._offset[cells]
        height, width = slopes.shape[0] * cell, slopes.shape[1] * cell
        slopes_px, offset_px = self._slopes_px[:height, :width], self._offset_px[:height, :width]
        cv2.resize(slopes, (width, height), dst=slopes_px, interpolation=cv2.INTER_LINEAR)
        cv2.resize(offset, (width, height), dst=offset_px, interpolation=cv2.INTER_LINEAR)
        area = (
            slice(top * cell, min(bottom * cell, self._height)),
            slice(left * cell, min(right * cell, self._width)),
        )
        high, wide = area[0].stop - area[0].start, area[1].stop - area[1].start
        inside = (
            slice((top - above) * cell, (top - above) * cell + high),
            slice((left - before) * cell, (left - before) * cell + wide),
        )
        product, total = self._product[:high, :wide], self._sum[:high, :wide]
        np.copyto(product, image_bgr[area])
        np.multiply(product, slopes_px[inside], out=product)
        cv2.transform(product, _ADD_UP, dst=total)
        cv2.add(total, offset_px[inside], dst=out[area], dtype=cv2.CV_8U)
        bound = self._bound[:height, :width]
        for of_cells, bounded in ((self._least, cv2.max), (self._most, cv2.min)):
            cv2.resize(of_cells[cells], (width, height), dst=bound, interpolation=cv2.INTER_LINEAR)
            bounded(out[area], bound[inside], dst=out[area])


_NEIGHBOURS = np.ones((3, 3), np.uint8)
_REACH = np.ones((2 * REACH_CELLS + 1, 2 * REACH_CELLS + 1), np.uint8)
_STEEPER = np.clip((np.arange(256) - 127.5) * (STEEPER_BEFORE * STEEPER_AFTER) + 127.5, 0, 255).astype(np.uint8)
_ADD_UP = np.ones((1, 3), np.float32)


class _LocalLine:
    """For each cell, alpha = slopes · colour + offset, fitted to the window around it."""

    def __init__(self, rows: int, columns: int) -> None:
        def planes(n: int) -> Planes:
            return np.empty((n, rows, columns), np.float32)

        self._window = (2 * RADIUS_CELLS + 1, 2 * RADIUS_CELLS + 1)
        self._colour, self._colour_mean = planes(3), planes(3)
        self._squares = planes(6)
        self._with_alpha, self._slope = planes(3), planes(3)
        self._alpha, self._alpha_mean, self._offset, self.scratch = planes(4)

    def fit(self, alpha: Bytes, cells_bgr: Bytes, slopes: Planes, offset: Planes) -> None:
        """Write slopes (rows, columns, 3) and offset (rows, columns), such that levels give levels of alpha."""
        colour, mean, scratch = self._colour, self._colour_mean, self.scratch
        for channel in range(3):
            np.copyto(colour[channel], cells_bgr[..., channel])
        np.multiply(colour, 1 / 255, out=colour)
        np.copyto(self._alpha, alpha)
        np.multiply(self._alpha, STEEPER_BEFORE / 255, out=self._alpha)
        np.subtract(self._alpha, (STEEPER_BEFORE - 1) / 2, out=self._alpha)
        np.clip(self._alpha, 0, 1, out=self._alpha)
        self._mean(self._alpha, self._alpha_mean)
        for channel in range(3):
            self._mean(colour[channel], mean[channel])
        for index, (one, other) in enumerate(_PAIRS):
            self._covariance(colour[one], colour[other], mean[one], mean[other], self._squares[index])
        for channel in range(3):
            self._covariance(colour[channel], self._alpha, mean[channel], self._alpha_mean, self._with_alpha[channel])
        self._solve()
        np.copyto(self._offset, self._alpha_mean)
        for channel in range(3):
            np.multiply(self._slope[channel], mean[channel], out=scratch)
            np.subtract(self._offset, scratch, out=self._offset)
        # Every pixel lies in many windows; theirs are averaged (He et al., eq. 9).
        for channel in range(3):
            self._mean(self._slope[channel], scratch)
            np.multiply(scratch, STEEPER_AFTER, out=self._slope[channel])
            np.copyto(slopes[..., channel], self._slope[channel])
        self._mean(self._offset, scratch)
        np.subtract(scratch, 0.5, out=scratch)
        np.multiply(scratch, 255 * STEEPER_AFTER, out=scratch)
        np.add(scratch, 127.5, out=self._offset)
        np.copyto(offset, self._offset)

    def at_cells(self, out: Planes) -> None:
        """The alpha of each cell as a whole, in levels, beyond 0 and 255 where the line leads there."""
        np.copyto(out, self._offset)
        for channel in range(3):
            np.multiply(self._slope[channel], self._colour[channel], out=self.scratch)
            np.multiply(self.scratch, 255, out=self.scratch)
            np.add(out, self.scratch, out=out)

    def _mean(self, plane: Planes, out: Planes) -> None:
        cv2.blur(plane, self._window, dst=out, borderType=cv2.BORDER_REFLECT)

    def _covariance(self, one: Planes, other: Planes, mean_one: Planes, mean_other: Planes, out: Planes) -> None:
        np.multiply(one, other, out=self.scratch)
        self._mean(self.scratch, out)
        np.multiply(mean_one, mean_other, out=self.scratch)
        np.subtract(out, self.scratch, out=out)

    def _solve(self) -> None:
        """slope = (squares + epsilon)^-1 with_alpha, by elimination; the pivots are at least epsilon."""
        (aa, ab, ac, bb, bc, cc), (x, y, z) = self._squares, self._with_alpha
        factor, product = self._slope[0], self.scratch
        for pivot in (aa, bb, cc):
            np.add(pivot, EPSILON, out=pivot)
        np.divide(ab, aa, out=factor)
        for row, column in ((bb, ab), (bc, ac), (y, x)):
            np.multiply(factor, column, out=product)
            np.subtract(row, product, out=row)
        np.divide(ac, aa, out=factor)
        for row, column in ((cc, ac), (z, x)):
            np.multiply(factor, column, out=product)
            np.subtract(row, product, out=row)
        np.maximum(bb, EPSILON, out=bb)  # against rounding
        np.divide(bc, bb, out=factor)
        for row, column in ((cc, bc), (z, y)):
            np.multiply(factor, column, out=product)
            np.subtract(row, product, out=row)
        np.maximum(cc, EPSILON, out=cc)
        first, second, third = self._slope
        np.divide(z, cc, out=third)
        np.multiply(bc, third, out=product)
        np.subtract(y, product, out=second)
        np.divide(second, bb, out=second)
        np.multiply(ab, second, out=product)
        np.subtract(x, product, out=first)
        np.multiply(ac, third, out=product)
        np.subtract(first, product, out=first)
        np.divide(first, aa, out=first)


_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


def _mean(area_bgr: Bytes, rows: int, columns: int) -> Bytes:
    mean = cv2.resize(area_bgr, (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(mean, np.uint8).reshape(rows, columns, 3)
