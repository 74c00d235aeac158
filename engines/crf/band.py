"""The last step of mean field at full resolution, where it matters: at the contour.

The lattice was built from a smaller image. A full-resolution pixel lies in it as any other point does: its simplex is
looked up (corners that no small pixel touched hold nothing), sliced, normalised by the filter of all ones at that
very place, and added to the pixel's own unary.
"""

import numpy as np
from numpy.typing import NDArray

from engines.crf.compiled import kernel
from engines.crf.simplices import locate_5d
from engines.crf.table import enter
from engines.crf.two_classes import signs

__all__ = ["sharpen"]

CHUNK = 512
TINY = np.float32(1e-20)


@kernel
def sharpen(
    first: int,
    pixels: NDArray[np.int64],
    image_bgr: NDArray[np.uint8],
    log_odds: NDArray[np.float32],
    s: NDArray[np.float32],
    scale: NDArray[np.float32],
    simplex_keys: NDArray[np.int64],
    simplex_ids: NDArray[np.int32],
    corners: NDArray[np.int32],
    vertex_keys: NDArray[np.int64],
    vertex_ids: NDArray[np.int32],
    vertices: NDArray[np.int64],
    counts: NDArray[np.int64],
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
        log_odds, s: (h w,) the frame's unaries, and what is set.
        values, density: (vertices + 1,) the last step's blurred values, and the filter of all ones.

    Returns:
        Where it stopped for want of room in the tables; the number of pixels when all are done.
    """
    width = image_bgr.shape[1]
    features = np.empty((5, CHUNK), np.float32)
    low, high, ids = np.empty(CHUNK, np.int32), np.empty(CHUNK, np.int32), np.empty(CHUNK, np.int32)
    weights = np.empty((6, CHUNK), np.float32)
    z, answer = np.empty(CHUNK, np.float32), np.empty(CHUNK, np.float32)
    for start in range(first, pixels.shape[0], CHUNK):
        n = min(pixels.shape[0] - start, CHUNK)
        if counts[0] + n > corners.shape[0] or 2 * (counts[0] + n) > simplex_ids.shape[0]:
            return start
        for p in range(n):
            row, column = pixels[start + p] // width, pixels[start + p] % width
            features[0, p], features[1, p] = column, row
            for channel in range(3):
                features[2 + channel, p] = image_bgr[row, column, channel]
        locate_5d(
            features[0, :n], features[1, :n], features[2, :n], features[3, :n], features[4, :n], scale,
            low[:n], high[:n], weights[:, :n],
        )  # fmt: skip
        enter(
            low[:n], high[:n], low[:0], high[:0], ids[:0], ids[:n], simplex_keys, simplex_ids, corners,
            vertex_keys, vertex_ids, vertices, counts, False,
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
            z[p] = log_odds[pixel] + said / np.sqrt(met + TINY) + smooth
        signs(z[:n], answer[:n])
        for p in range(n):
            s[pixels[start + p]] = answer[p]
    return len(pixels)
