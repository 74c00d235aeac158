"""Mean field of any number of classes: each pixel's row of classes is sliced, normalised and splatted in one go.

Rows lie in one piece of memory and are padded to a multiple of eight, so that the compiler does eight classes at
once. As with two classes, a few pixels at a time go through a whole step and never leave the cache.
"""

import numpy as np
from numpy.typing import NDArray

from engines.crf.compiled import kernel
from engines.crf.lanes import LANES, add_scaled

__all__ = ["iterate", "settle"]

CHUNK = 64
LEAST = np.float32(-80)
"""exp() below this is nothing beside the largest class's 1."""
PER_LN2, LN2 = np.float32(1.4426950408889634), np.float32(0.6931471805599453)
HALF, ONE = np.float32(0.5), np.float32(1)
C2, C3, C4, C5, C6 = (np.float32(1 / n) for n in (2, 6, 24, 120, 720))
BIAS, MANTISSA_BITS = np.int32(127), np.int32(23)


@kernel
def _softmax(rows: NDArray[np.float32], exponents: NDArray[np.int32]) -> None:
    """Over each of (n, K) rows, in place; the exponential is `two_classes.signs`'s."""
    n, n_classes = rows.shape
    for p in range(n):
        row = rows[p]
        largest = row[0]
        for c in range(1, n_classes):
            largest = max(largest, row[c])
        bits = exponents[p]
        for c in range(n_classes):
            t = max(row[c] - largest, LEAST) * PER_LN2
            k = np.floor(t + HALF)
            f = (t - k) * LN2
            row[c] = ONE + f * (ONE + f * (C2 + f * (C3 + f * (C4 + f * (C5 + f * C6)))))
            bits[c] = (np.int32(k) + BIAS) << MANTISSA_BITS
        powers = bits.view(np.float32)
        total = np.float32(0)
        for c in range(n_classes):
            row[c] *= powers[c]
            total += row[c]
        share = ONE / total
        for c in range(n_classes):
            row[c] *= share


@kernel
def _add_sliced(
    rows: NDArray[np.float32],
    start: int,
    size: int,
    ids: NDArray[np.int32],
    weights: NDArray[np.float32],
    corners: NDArray[np.int32],
    values: NDArray[np.float32],
) -> None:
    """Add a lattice's answer to (size, K) rows of the pixels from `start` on."""
    n_classes = rows.shape[1]
    for p in range(size):
        simplex = ids[start + p]
        for k in range(corners.shape[1]):
            at, weight = corners[simplex, k] * n_classes, weights[start + p, k]
            for first in range(0, n_classes, LANES):
                add_scaled(rows, p * n_classes + first, values, at + first, weight)


@kernel
def _splat(
    rows: NDArray[np.float32],
    start: int,
    size: int,
    ids: NDArray[np.int32],
    weights: NDArray[np.float32],
    corners: NDArray[np.int32],
    values: NDArray[np.float32],
) -> None:
    """Add (size, K) rows to a lattice; see `_add_sliced`."""
    n_classes = rows.shape[1]
    for p in range(size):
        simplex = ids[start + p]
        for k in range(corners.shape[1]):
            at, weight = corners[simplex, k] * n_classes, weights[start + p, k]
            for first in range(0, n_classes, LANES):
                add_scaled(values, at + first, rows, p * n_classes + first, weight)


@kernel
def _blur_rows(
    values: NDArray[np.float32], spare: NDArray[np.float32], near: NDArray[np.int32], gain: np.float32
) -> NDArray[np.float32]:
    """As `lattice.blur`, for (vertices + 1, K)."""
    last, n_classes = values.shape[0] - 1, values.shape[1]
    for axis in range(near.shape[0]):
        before, after = near[axis, 0], near[axis, 1]
        for vertex in range(last):
            here, one, other, out = values[vertex], values[before[vertex]], values[after[vertex]], spare[vertex]
            for c in range(n_classes):
                out[c] = here[c] + HALF * (one[c] + other[c])
        spare[last] = 0
        values, spare = spare, values
    for vertex in range(last):
        for c in range(n_classes):
            values[vertex, c] *= gain
    return values


@kernel
def iterate(
    unary: NDArray[np.float32],
    probs: NDArray[np.float32],
    iterations: int,
    ids: NDArray[np.int32],
    weights: NDArray[np.float32],
    corners: NDArray[np.int32],
    near: NDArray[np.int32],
    gain: np.float32,
    spatial_ids: NDArray[np.int32],
    spatial_weights: NDArray[np.float32],
    spatial_corners: NDArray[np.int32],
    spatial_near: NDArray[np.int32],
    spatial_gain: np.float32,
    settled: NDArray[np.float32],
    spatial_settled: NDArray[np.float32],
) -> None:
    """Mean field from the probabilities that are given.

    Args:
        unary: (K, n) log-probabilities, classes that pad the rows far below the others.
        probs: (K, n) to start from; overwritten with the result.
        gain: w1 times the lattice's gain; `spatial_gain` likewise with w2.
        settled: (vertices + 1, K) what points that no longer change have splatted, `spatial_settled` likewise; or of
            no rows.
    """
    n_classes, n = unary.shape
    n_vertices, n_spatial = near.shape[2], spatial_near.shape[2]
    values = np.zeros((n_vertices + 1, n_classes), np.float32)
    spare, blurred = np.empty_like(values), np.zeros_like(values)
    spatial_values = np.zeros((n_spatial + 1, n_classes), np.float32)
    spatial_spare, spatial_blurred = np.empty_like(spatial_values), np.zeros_like(spatial_values)
    rows = np.empty((CHUNK, n_classes), np.float32)
    exponents = np.empty((CHUNK, n_classes), np.int32)
    for step in range(iterations + 1):
        if settled.shape[0] > 0:
            values[:] = settled
            spatial_values[:] = spatial_settled
        else:
            values[:] = 0
            spatial_values[:] = 0
        for start in range(0, n, CHUNK):
            size = min(n - start, CHUNK)
            source = unary if step > 0 else probs
            for c in range(n_classes):
                for p in range(size):
                    rows[p, c] = source[c, start + p]
            if step > 0:
                _add_sliced(rows, start, size, ids, weights, corners, blurred)
                _add_sliced(rows, start, size, spatial_ids, spatial_weights, spatial_corners, spatial_blurred)
                _softmax(rows[:size], exponents)
            if step < iterations:
                _splat(rows, start, size, ids, weights, corners, values)
                _splat(rows, start, size, spatial_ids, spatial_weights, spatial_corners, spatial_values)
            else:
                for c in range(n_classes):
                    for p in range(size):
                        probs[c, start + p] = rows[p, c]
        if step < iterations:
            _blur_rows(values, spare, near, gain)
            values, blurred = blurred, values
            _blur_rows(spatial_values, spatial_spare, spatial_near, spatial_gain)
            spatial_spare, spatial_blurred = spatial_blurred, spatial_spare


@kernel
def settle(
    probs: NDArray[np.float32],
    is_left: NDArray[np.bool_],
    ids: NDArray[np.int32],
    weights: NDArray[np.float32],
    corners: NDArray[np.int32],
    values: NDArray[np.float32],
    spatial_ids: NDArray[np.int32],
    spatial_weights: NDArray[np.float32],
    spatial_corners: NDArray[np.int32],
    spatial_values: NDArray[np.float32],
) -> None:
    """Splat those of (K, n) probabilities that are not left to change: (n,)."""
    n_classes, n = probs.shape
    rows = np.empty((CHUNK, n_classes), np.float32)
    for start in range(0, n, CHUNK):
        size = min(n - start, CHUNK)
        for c in range(n_classes):
            for p in range(size):
                rows[p, c] = np.float32(0) if is_left[start + p] else probs[c, start + p]
        _splat(rows, start, size, ids, weights, corners, values)
        _splat(rows, start, size, spatial_ids, spatial_weights, spatial_corners, spatial_values)
