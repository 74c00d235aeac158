"""The compiled loops of `sampling.py`, over blocks of 2x2 pixels: who is in doubt, who is sent, and the way back.

A block's grid pixel is its upper left one in even rows of blocks, its upper right one in odd rows.
"""

import numpy as np
from numpy.typing import NDArray

from engines.crf.compiled import kernel

__all__ = ["doubts", "enlarge", "gather", "send", "unsettled"]

HALF, ONE = np.float32(0.5), np.float32(1)


@kernel
def doubts(
    log_odds: NDArray[np.float32],
    start: NDArray[np.float32],
    sure: np.float32,
    start_sure: np.float32,
    is_one: NDArray[np.uint8],
    is_doubt: NDArray[np.uint8],
    unsure: NDArray[np.float32],
) -> None:
    """Look at each block's grid pixel.

    Args:
        log_odds: (h, w), of the unaries.
        start: (h, w) Q_1 - Q_0 to start from, or of no rows: then the unaries are.
        sure, start_sure: what `log_odds` and `start` are at least where nothing is in doubt.
        is_one: (rows, columns), filled: whether class 1 leads.
        is_doubt: (rows, columns), filled.
        unsure: (rows, columns), filled with the amount of the log-odds.
    """
    rows, columns = is_one.shape
    last = log_odds.shape[1] - 1
    for row in range(rows):
        for column in range(columns):
            x = min(2 * column + row % 2, last)
            odds = log_odds[2 * row, x]
            unsure[row, column] = abs(odds)
            says, leads = odds > 0, odds > 0
            doubt = abs(odds) < sure
            if start.shape[0] > 0:
                begun = start[2 * row, x]
                leads = begun > 0
                doubt = doubt or abs(begun) < start_sure or says != leads
            is_one[row, column] = leads
            is_doubt[row, column] = doubt


@kernel
def send(
    is_near: NDArray[np.uint8],
    is_whole: NDArray[np.bool_],
    cell: int,
    height: int,
    width: int,
    cell_columns: NDArray[np.int64],
    cell_mass: NDArray[np.float32],
    places: NDArray[np.int64],
    mass: NDArray[np.float32],
) -> int:
    """List the pixels that take part, row by row.

    Args:
        is_near: (cells' rows, cells' columns) whether each block sends its grid pixel; else one does for the cell.
        is_whole: (rows, columns) blocks that send all their pixels where the cell is near; or of no rows.
        cell: blocks on a cell's side.
        cell_columns: (cells' rows, cells' columns) the column of the block that stands for a cell.
        cell_mass: (cells' rows, cells' columns) pixels of each.
        places: filled: where in the (height, width) frame.
        mass: filled: how many pixels each stands for.

    Returns:
        How many there are.
    """
    rows, columns = (height + 1) // 2, (width + 1) // 2
    has_whole = is_whole.shape[0] > 0
    n = 0
    for y in range(height):
        row = y // 2
        cell_row = row // cell
        is_upper = y % 2 == 0
        tall = min(height - 2 * row, 2)
        middle = min(cell_row * cell + cell // 2, rows - 1)
        for cell_column in range(is_near.shape[1]):
            if is_near[cell_row, cell_column]:
                for column in range(cell_column * cell, min((cell_column + 1) * cell, columns)):
                    if has_whole and is_whole[row, column]:
                        for x in range(2 * column, min(2 * column + 2, width)):
                            places[n], mass[n] = y * width + x, ONE
                            n += 1
                    elif is_upper:
                        places[n] = y * width + min(2 * column + row % 2, width - 1)
                        mass[n] = tall * min(width - 2 * column, 2)
                        n += 1
            elif is_upper and row == middle:
                column = cell_columns[cell_row, cell_column]
                places[n] = y * width + min(2 * column + row % 2, width - 1)
                mass[n] = cell_mass[cell_row, cell_column]
                n += 1
    return n


@kernel
def gather(
    values: NDArray[np.float32],
    places: NDArray[np.int64],
    width: int,
    is_near: NDArray[np.uint8],
    cell: int,
    cell_columns: NDArray[np.int64],
    small: NDArray[np.float32],
) -> None:
    """Give each block what its grid pixel has, or its cell's.

    Args:
        values: (n,) of the pixels that took part; `places` as `send` filled it, for frames of that `width`.
        small: (rows, columns), filled.
    """
    rows, columns = small.shape
    y = 0
    for p in range(places.shape[0]):
        while places[p] >= (y + 1) * width:
            y += 1
        x, row = places[p] - y * width, y // 2
        if y % 2 == 0 and x == min(x // 2 * 2 + row % 2, width - 1):
            small[row, x // 2] = values[p]
    for cell_row in range(is_near.shape[0]):
        top, below = cell_row * cell, min((cell_row + 1) * cell, rows)
        middle = min(top + cell // 2, rows - 1)
        for cell_column in range(is_near.shape[1]):
            if not is_near[cell_row, cell_column]:
                left, right = cell_column * cell, min((cell_column + 1) * cell, columns)
                small[top:below, left:right] = small[middle, cell_columns[cell_row, cell_column]]


@kernel
def _at_even(small: NDArray[np.float32], even: NDArray[np.float32]) -> None:
    """(rows, columns) of grid pixels to the blocks' upper left ones."""
    rows, columns = small.shape
    for row in range(rows):
        even[row, 0] = small[row, 0]
        before = row % 2  # the grid pixel of odd rows lies to the right
        for column in range(1, columns):
            even[row, column] = HALF * (small[row, column] + small[row, column - before])


@kernel
def enlarge(small: NDArray[np.float32], even: NDArray[np.float32], large: NDArray[np.float32]) -> None:
    """(rows, columns) of grid pixels to (h, w) `large`, bilinearly; `even` is used up."""
    height, width = large.shape
    rows, columns = small.shape
    _at_even(small, even)
    for y in range(height):
        upper, lower = even[y // 2], even[min((y + 1) // 2, rows - 1)]
        row = large[y]
        for column in range(columns - 1):
            here, right = upper[column] + lower[column], upper[column + 1] + lower[column + 1]
            row[2 * column] = HALF * here
            row[2 * column + 1] = HALF * HALF * (here + right)
        row[2 * columns - 2] = HALF * (upper[columns - 1] + lower[columns - 1])
        if width % 2 == 0:
            row[width - 1] = row[width - 2]


@kernel
def unsettled(
    large: NDArray[np.float32],
    contour: NDArray[np.uint8],
    unsure: np.float32,
    places: NDArray[np.int64],
    pixels: NDArray[np.int64],
) -> int:
    """List the pixels that are looked at again, row by row: those near the contour, and those that are unsure.

    Args:
        large: (h, w) Q_1 - Q_0.
        contour: (rows, columns), not 0 where it runs.
        places: (n,) pixels that took part, row by row; they are not looked at again.
        pixels: filled.

    Returns:
        How many there are.
    """
    height, width = large.shape
    wanted = np.zeros((width + 7) // 8 * 8, np.uint8)
    eights = wanted.view(np.uint64)
    n, taken = 0, 0
    for y in range(height):
        near, row = contour[y // 2], large[y]
        for x in range(width):
            wanted[x] = abs(row[x]) < unsure
        for x in range(width):
            wanted[x] |= near[x // 2]
        for eight in range(eights.shape[0]):
            if eights[eight]:
                for x in range(8 * eight, min(8 * eight + 8, width)):
                    pixel = y * width + x
                    while wanted[x] and taken < places.shape[0] and places[taken] < pixel:
                        taken += 1
                    if wanted[x] and (taken == places.shape[0] or places[taken] != pixel):
                        pixels[n] = pixel
                        n += 1
    return n
