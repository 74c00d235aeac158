"""Simplices and lattice points by their names: hash tables with open addressing, in plain arrays.

A simplex that is met for the first time looks up its corners; every further pixel in it costs one look-up, or none
when the pixel before or above lies in the same. The trap: nothing here grows. Who calls makes sure that there is
room for a whole row of new simplices (`engines.crf.lattice`), so no write can go past an end.

A table is (slots, 2) int64, at most half full: a key, and beside it a number that counts on from image to image, so
that nothing needs clearing: an entry below `since` is as good as none.
"""

import numpy as np
from numpy.typing import NDArray

from engines.crf.compiled import kernel
from engines.crf.simplices import locate_2d, locate_5d

__all__ = ["enter", "enter_rows", "moved", "neighbours"]

NOBODY = np.int32(-1)
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""Fibonacci hashing: the upper bits of the product are well mixed."""

FIELD_5D, FIELD_2D = np.int64(12), np.int64(24)
MIDDLE_5D, MIDDLE_2D = np.int64(1 << 11), np.int64(1 << 23)
ONES_5D = np.int64(1 | 1 << 12 | 1 << 24 | 1 << 36 | 1 << 48)
ONES_2D = np.int64(1 | 1 << 24)


@kernel
def _home(key: np.int64, n_slots: int) -> np.int64:
    """Where a key is looked for first; `n_slots` is a power of two."""
    mixed = np.uint64(key) * GOLDEN
    return np.int64((mixed ^ (mixed >> np.uint64(29))) & np.uint64(n_slots - 1))


@kernel
def _found(key: np.int64, table: NDArray[np.int64], since: int) -> np.int64:
    """The slot that holds the key, or the free one where it would be put."""
    last = table.shape[0] - 1
    slot = _home(key, table.shape[0])
    while table[slot, 1] >= since and table[slot, 0] != key:
        slot = (slot + 1) & last
    return slot


@kernel
def moved(table: NDArray[np.int64], larger: NDArray[np.int64], since: int) -> None:
    """Put everything into a larger, empty table."""
    for slot in range(table.shape[0]):
        if table[slot, 1] >= since:
            place = _found(table[slot, 0], larger, since)
            larger[place, 0] = table[slot, 0]
            larger[place, 1] = table[slot, 1]


@kernel
def _corner_keys(low: np.int32, high: np.int32, n_corners: int, axis_of: NDArray[np.int64]) -> np.int64:
    """The packed remainder-0 point of a simplex; fills `axis_of[rank]`."""
    if n_corners == 6:
        order, ranks = int(high >> 18), 0
        for axis in range(5):
            rank = order % 6
            order //= 6
            ranks += rank
            axis_of[rank] = axis
        axis_of[15 - ranks] = 5
        key = 6 * (np.int64(low & 1023) - 512) + MIDDLE_5D
        key |= (6 * (np.int64((low >> 10) & 1023) - 512) + MIDDLE_5D) << FIELD_5D
        key |= (6 * (np.int64(low >> 20) - 512) + MIDDLE_5D) << (2 * FIELD_5D)
        key |= (6 * (np.int64(high & 511) - 256) + MIDDLE_5D) << (3 * FIELD_5D)
        key |= (6 * (np.int64((high >> 9) & 511) - 256) + MIDDLE_5D) << (4 * FIELD_5D)
        return key
    first, second = (high & 15) % 3, (high & 15) // 3
    axis_of[first], axis_of[second], axis_of[3 - first - second] = 0, 1, 2
    return (3 * np.int64(low) + MIDDLE_2D) | ((3 * np.int64(high >> 4) + MIDDLE_2D) << FIELD_2D)


@kernel
def enter(
    low: NDArray[np.int32],
    high: NDArray[np.int32],
    low_above: NDArray[np.int32],
    high_above: NDArray[np.int32],
    ids_above: NDArray[np.int32],
    ids: NDArray[np.int32],
    simplices: NDArray[np.int64],
    corners: NDArray[np.int32],
    table: NDArray[np.int64],
    vertices: NDArray[np.int64],
    counts: NDArray[np.int64],
    since: int,
    may_add: bool,
) -> None:
    """Give each of n points the number of its simplex; see `Lattice` for the arrays.

    Args:
        low_above: empty, or as long as `low`: the row above, with `high_above` and `ids_above`.
        ids: filled: (n,).
        counts: [simplices, vertices]; grows.
        since: what the numbers of this image begin at in the tables; those below are of images before.
        may_add: False: a corner that is no lattice point yet is the one past the last, whose value is always 0.
    """
    n_corners = corners.shape[1]
    axis_of = np.empty(n_corners, np.int64)
    has_above = low_above.shape[0] > 0
    field, ones = (FIELD_5D, ONES_5D) if n_corners == 6 else (FIELD_2D, ONES_2D)
    last_low, last_high, last_id = np.int32(0), np.int32(0), NOBODY
    for p in range(low.shape[0]):
        if last_id < 0 or low[p] != last_low or high[p] != last_high:
            last_low, last_high = low[p], high[p]
            if has_above and low_above[p] == last_low and high_above[p] == last_high:
                last_id = ids_above[p]
            else:
                name = (np.int64(last_high) << 32) | (np.int64(last_low) & np.int64(0xFFFFFFFF))
                slot = _found(name, simplices, since)
                if simplices[slot, 1] < since:
                    simplex = np.int32(counts[0])
                    counts[0] += 1
                    simplices[slot, 0] = name
                    simplices[slot, 1] = since + simplex
                    key = _corner_keys(last_low, last_high, n_corners, axis_of)
                    for k in range(n_corners):
                        place = _found(key, table, since)
                        vertex = np.int32(table[place, 1] - since)
                        if table[place, 1] < since:
                            vertex = np.int32(counts[1])
                            if may_add:
                                counts[1] += 1
                                table[place, 0] = key
                                table[place, 1] = since + vertex
                                vertices[vertex] = key
                        corners[simplex, k] = vertex
                        # To the corner of the next remainder: one along every axis, and d + 1 back along one.
                        key += ones
                        axis = axis_of[n_corners - 1 - k]
                        if axis < n_corners - 1:
                            key -= np.int64(n_corners) << (field * axis)
                last_id = np.int32(simplices[slot, 1] - since)
        ids[p] = last_id


@kernel
def enter_rows(
    first_row: int,
    image_bgr: NDArray[np.uint8],
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    scale: NDArray[np.float32],
    ids: NDArray[np.int32],
    weights: NDArray[np.float32],
    simplices: NDArray[np.int64],
    corners: NDArray[np.int32],
    table: NDArray[np.int64],
    vertices: NDArray[np.int64],
    counts: NDArray[np.int64],
    since: int,
) -> int:
    """Enter the pixels of an (h, w, 3) image, or of (h, w, 0) positions alone, from a row on; see `Lattice`.

    Args:
        x: (w,) where the columns lie.
        y: (h,) where the rows lie.

    Returns:
        The first row that was not entered, for want of room; the image's height when all were.
    """
    width = x.shape[0]
    n_corners = corners.shape[1]
    features = np.empty((4, width), np.float32)
    names = np.empty((2, 2, width), np.int32)
    found = np.empty((n_corners, width), np.float32)
    for row in range(first_row, y.shape[0]):
        n_simplices, n_vertices = counts[0] + width, counts[1] + width * n_corners
        if n_simplices > corners.shape[0] or n_vertices > vertices.shape[0]:
            return row
        if 2 * n_simplices > simplices.shape[0] or 2 * n_vertices > table.shape[0]:
            return row
        low, high = names[row % 2, 0], names[row % 2, 1]
        for column in range(width):
            features[0, column] = y[row]
        if n_corners == 6:
            for column in range(width):
                features[1, column] = image_bgr[row, column, 0]
                features[2, column] = image_bgr[row, column, 1]
                features[3, column] = image_bgr[row, column, 2]
            locate_5d(x, features[0], features[1], features[2], features[3], scale, low, high, found)
        else:
            locate_2d(x, features[0], scale, low, high, found)
        start = row * width
        n_above = width if row > first_row else 0
        above = 1 - row % 2
        enter(
            low, high, names[above, 0, :n_above], names[above, 1, :n_above], ids[start - n_above : start],
            ids[start : start + width], simplices, corners, table, vertices, counts, since, True,
        )  # fmt: skip
        for k in range(n_corners):
            for column in range(width):
                weights[start + column, k] = found[k, column]
    return len(y)


@kernel
def neighbours(
    vertices: NDArray[np.int64],
    n_vertices: int,
    table: NDArray[np.int64],
    since: int,
    near: NDArray[np.int32],
) -> None:
    """Fill `near` (d + 1, 2, n_vertices): who lies before and after along each axis; nobody is n_vertices."""
    n_axes = near.shape[0]
    field, ones = (FIELD_5D, ONES_5D) if n_axes == 6 else (FIELD_2D, ONES_2D)
    for axis in range(n_axes):
        step = -ones
        if axis < n_axes - 1:
            step += np.int64(n_axes) << (field * axis)
        before, after = near[axis, 0], near[axis, 1]
        for vertex in range(n_vertices):
            before[vertex] = n_vertices
            after[vertex] = n_vertices
        for vertex in range(n_vertices):
            key = vertices[vertex] + step
            number = table[_found(key, table, since), 1] - since
            if number >= 0:
                before[vertex] = number
                after[number] = vertex
