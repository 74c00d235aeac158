"""Pixels picked out of a frame: entered in a lattice that a grid began, or sliced for the last step of mean field.

A pixel that took no part in the iterations lies in the lattice as any other point does: its simplex is looked up
(corners that nobody touched hold nothing), sliced, normalised by the filter of all ones at that very place, and added
to the pixel's own unary.
"""

import numpy as np
from numpy.typing import NDArray

from engines.crf.compiled import kernel
from engines.crf.simplices import locate_5d
from engines.crf.table import enter
from engines.crf.two_classes import signs

__all__ = ["CHUNK", "enter_pixels", "sharpen"]

CHUNK = 512
TINY = np.float32(1e-20)


@kernel
def _locate(
    pixels: NDArray[np.int64],
    image_bgr: NDArray[np.uint8],
    scale: NDArray[np.float32],
    features: NDArray[np.float32],
    low: NDArray[np.int32],
    high: NDArray[np.int32],
    weights: NDArray[np.float32],
) -> None:
    """`locate_5d` of up to CHUNK places in the frame."""
    n, width = pixels.shape[0], image_bgr.shape[1]
    for p in range(n):
        row, column = pixels[p] // width, pixels[p] % width
        features[0, p], features[1, p] = column, row
        for channel in range(3):
            features[2 + channel, p] = image_bgr[row, column, channel]
    locate_5d(
        features[0, :n], features[1, :n], features[2, :n], features[3, :n], features[4, :n], scale, low[:n], high[:n],
        weights[:, :n],
    )  # fmt: skip


@kernel
def enter_pixels(
    first: int,
    pixels: NDArray[np.int64],
    image_bgr: NDArray[np.uint8],
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
    """Give (n,) pixels their `ids` (n,) and `weights` (n, 6), from the `first` on; see `Lattice`.

    Returns:
        Where it stopped for want of room in the tables; the number of pixels when all are done.
    """
    features, found = np.empty((5, CHUNK), np.float32), np.empty((6, CHUNK), np.float32)
    low, high = np.empty(CHUNK, np.int32), np.empty(CHUNK, np.int32)
    for start in range(first, pixels.shape[0], CHUNK):
        n = min(pixels.shape[0] - start, CHUNK)
        n_simplices, n_vertices = counts[0] + n, counts[1] + 6 * n
        if n_simplices > corners.shape[0] or n_vertices > vertices.shape[0]:
            return start
        if 2 * n_simplices > simplices.shape[0] or 2 * n_vertices > table.shape[0]:
            return start
        _locate(pixels[start : start + n], image_bgr, scale, features, low, high, found)
        enter(
            low[:n], high[:n], low[:0], high[:0], ids[:0], ids[start : start + n], simplices, corners, table, vertices,
            counts, since, True,
        )  # fmt: skip
        for k in range(6):
            for p in range(n):
                weights[start + p, k] = found[k, p]
    return len(pixels)


@kernel
def sharpen(
    first: int,
    pixels: NDArray[np.int64],
    image_bgr: NDArray[np.uint8],
    log_odds: NDArray[np.float32],
    s: NDArray[np.float32],
    scale: NDArray[np.float32],
    simplices: NDArray[np.int64],
    corners: NDArray[np.int32],
    table: NDArray[np.int64],
    vertices: NDArray[np.int64],
    counts: NDArray[np.int64],
    since: int,
    values: NDArray[np.float32],
    density: NDArray[np.float32],
    spatial_ids: NDArray[np.int32],
    spatial_weights: NDArray[np.float32],
    spatial_corners: NDArray[np.int32],
    spatial_values: NDArray[np.float32],
) -> int:
    """Set s = tanh(z / 2) of some pixels.

    Args:
        first: where in `pixels` to go on.
        pixels: (n,) places in the frame, row by row.
        image_bgr: (h, w, 3), the frame.
        log_odds, s: (n,) the pixels' unaries, and what is set.
        values, density: (vertices + 1,) the last step's blurred values, and the filter of all ones.

    Returns:
        Where it stopped for want of room in the tables; the number of pixels when all are done.
    """
    features = np.empty((5, CHUNK), np.float32)
    low, high, ids = np.empty(CHUNK, np.int32), np.empty(CHUNK, np.int32), np.empty(CHUNK, np.int32)
    weights = np.empty((6, CHUNK), np.float32)
    z = np.empty(CHUNK, np.float32)
    for start in range(first, pixels.shape[0], CHUNK):
        n = min(pixels.shape[0] - start, CHUNK)
        if counts[0] + n > corners.shape[0] or 2 * (counts[0] + n) > simplices.shape[0]:
            return start
        _locate(pixels[start : start + n], image_bgr, scale, features, low, high, weights)
        enter(
            low[:n], high[:n], low[:0], high[:0], ids[:0], ids[:n], simplices, corners, table, vertices, counts, since,
            False,
        )  # fmt: skip
        for p in range(n):
            pixel = pixels[start + p]
            met, said = np.float32(0), np.float32(0)
            for k in range(6):
                corner = corners[ids[p], k]
                met += weights[k, p] * density[corner]
                said += weights[k, p] * values[corner]
            smooth = np.float32(0)
            for k in range(3):
                smooth += spatial_weights[pixel, k] * spatial_values[spatial_corners[spatial_ids[pixel], k]]
            z[p] = log_odds[start + p] + said / np.sqrt(met + TINY) + smooth
        signs(z[:n], s[start : start + n])
    return len(pixels)
