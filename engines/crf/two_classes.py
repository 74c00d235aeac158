"""Mean field of two classes in one channel.

With two classes Q_1 = 1 - Q_0, and the filters are linear: what matters is s = Q_1 - Q_0 alone, and the update is
s = tanh(z / 2) with z = z_0 + w1 n L(n s) + w2 n L'(n s), z_0 the log-odds of the unaries (eq. 4 of Krähenbühl and
Koltun 2011 with Potts compatibility, whose self term stays, as in their code). A step slices both lattices, takes the
tanh and splats into the next ones in one pass over a few hundred pixels at a time, which never leave the cache.
"""

import numpy as np
from numpy.typing import NDArray

from engines.crf.compiled import kernel
from engines.crf.lattice import blur

__all__ = ["iterate", "settle", "signs"]

CHUNK = 512
LIMIT = np.float32(40)
"""Log-odds beyond which a float32 knows no more than 0 and 1."""
PER_LN2, LN2 = np.float32(1.4426950408889634), np.float32(0.6931471805599453)
HALF, ONE, TWO = np.float32(0.5), np.float32(1), np.float32(2)
C2, C3, C4, C5, C6 = (np.float32(1 / n) for n in (2, 6, 24, 120, 720))
BIAS, MANTISSA_BITS = np.int32(127), np.int32(23)


@kernel
def signs(z: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """tanh(z / 2) of (n,) log-odds, n up to CHUNK; 2e-7 off at most.

    exp(z) = 2^k exp(f) with |f| <= ln 2 / 2: a Taylor polynomial, and k put into the exponent's bits.
    """
    n = z.shape[0]
    exponents = np.empty(n, np.int32)
    for p in range(n):
        t = min(max(z[p], -LIMIT), LIMIT) * PER_LN2
        k = np.floor(t + HALF)
        f = (t - k) * LN2
        out[p] = ONE + f * (ONE + f * (C2 + f * (C3 + f * (C4 + f * (C5 + f * C6)))))
        exponents[p] = (np.int32(k) + BIAS) << MANTISSA_BITS
    powers = exponents.view(np.float32)
    for p in range(n):
        out[p] = ONE - TWO / (ONE + out[p] * powers[p])


@kernel
def _slice(
    z: NDArray[np.float32],
    ids: NDArray[np.int32],
    weights: NDArray[np.float32],
    corners: NDArray[np.int32],
    values: NDArray[np.float32],
    spatial_ids: NDArray[np.int32],
    spatial_weights: NDArray[np.float32],
    spatial_corners: NDArray[np.int32],
    spatial_values: NDArray[np.float32],
) -> None:
    """Add both filters' answers to (n,) log-odds."""
    last = np.int32(-1)
    v0 = v1 = v2 = v3 = v4 = v5 = np.float32(0)
    for p in range(z.shape[0]):
        at = ids[p]
        if at != last:  # pixels of one simplex come in runs
            last = at
            v0, v1, v2 = values[corners[at, 0]], values[corners[at, 1]], values[corners[at, 2]]
            v3, v4, v5 = values[corners[at, 3]], values[corners[at, 4]], values[corners[at, 5]]
        near = v0 * weights[p, 0] + v1 * weights[p, 1] + v2 * weights[p, 2]
        far = v3 * weights[p, 3] + v4 * weights[p, 4] + v5 * weights[p, 5]
        at = spatial_ids[p]
        smooth = spatial_values[spatial_corners[at, 0]] * spatial_weights[p, 0]
        smooth += spatial_values[spatial_corners[at, 1]] * spatial_weights[p, 1]
        smooth += spatial_values[spatial_corners[at, 2]] * spatial_weights[p, 2]
        z[p] += near + far + smooth


@kernel
def _splat(
    s: NDArray[np.float32],
    ids: NDArray[np.int32],
    weights: NDArray[np.float32],
    corners: NDArray[np.int32],
    values: NDArray[np.float32],
    spatial_ids: NDArray[np.int32],
    spatial_weights: NDArray[np.float32],
    spatial_corners: NDArray[np.int32],
    spatial_values: NDArray[np.float32],
) -> None:
    """Add (n,) values to both lattices."""
    last = ids[0]
    v0 = v1 = v2 = v3 = v4 = v5 = np.float32(0)
    for p in range(s.shape[0]):
        at = ids[p]
        if at != last:
            values[corners[last, 0]] += v0
            values[corners[last, 1]] += v1
            values[corners[last, 2]] += v2
            values[corners[last, 3]] += v3
            values[corners[last, 4]] += v4
            values[corners[last, 5]] += v5
            v0 = v1 = v2 = v3 = v4 = v5 = np.float32(0)
            last = at
        v0 += weights[p, 0] * s[p]
        v1 += weights[p, 1] * s[p]
        v2 += weights[p, 2] * s[p]
        v3 += weights[p, 3] * s[p]
        v4 += weights[p, 4] * s[p]
        v5 += weights[p, 5] * s[p]
        at = spatial_ids[p]
        spatial_values[spatial_corners[at, 0]] += spatial_weights[p, 0] * s[p]
        spatial_values[spatial_corners[at, 1]] += spatial_weights[p, 1] * s[p]
        spatial_values[spatial_corners[at, 2]] += spatial_weights[p, 2] * s[p]
    values[corners[last, 0]] += v0
    values[corners[last, 1]] += v1
    values[corners[last, 2]] += v2
    values[corners[last, 3]] += v3
    values[corners[last, 4]] += v4
    values[corners[last, 5]] += v5


@kernel
def iterate(
    z0: NDArray[np.float32],
    s: NDArray[np.float32],
    mass: NDArray[np.float32],
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
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean field from the `s` that is given.

    Args:
        z0: (n,) log-odds of the unaries.
        s: (n,) Q_1 - Q_0 to start from; overwritten with the result.
        mass: (n,) how many pixels each point stands for; empty: one each.
        gain: w1 times the lattice's gain; `spatial_gain` likewise with w2.
        settled: (vertices + 1,) what points that no longer change have splatted, `spatial_settled` likewise; or empty.

    Returns:
        What the last step sliced: the blurred values of both lattices, (vertices + 1,); zeros without iterations.
    """
    n = z0.shape[0]
    n_vertices, n_spatial = near.shape[2], spatial_near.shape[2]
    values, spare = np.zeros(n_vertices + 1, np.float32), np.empty(n_vertices + 1, np.float32)
    blurred = np.zeros(n_vertices + 1, np.float32)
    spatial_values, spatial_spare = np.zeros(n_spatial + 1, np.float32), np.empty(n_spatial + 1, np.float32)
    spatial_blurred = np.zeros(n_spatial + 1, np.float32)
    z = np.empty(CHUNK, np.float32)
    heavy = np.empty(CHUNK, np.float32)
    for step in range(iterations + 1):
        if settled.shape[0] > 0:
            values[:] = settled
            spatial_values[:] = spatial_settled
        else:
            values[:] = 0
            spatial_values[:] = 0
        for start in range(0, n, CHUNK):
            end = min(n, start + CHUNK)
            part = s[start:end]
            if step > 0:
                odds = z[: end - start]
                odds[:] = z0[start:end]
                _slice(
                    odds, ids[start:end], weights[start:end], corners, blurred,
                    spatial_ids[start:end], spatial_weights[start:end], spatial_corners, spatial_blurred,
                )  # fmt: skip
                signs(odds, part)
            if step < iterations:
                if mass.shape[0] > 0:
                    for p in range(end - start):
                        heavy[p] = part[p] * mass[start + p]
                    part = heavy[: end - start]
                _splat(
                    part, ids[start:end], weights[start:end], corners, values,
                    spatial_ids[start:end], spatial_weights[start:end], spatial_corners, spatial_values,
                )  # fmt: skip
        if step < iterations:
            # After an even number of axes the result lies in the first array, after an odd one in the second.
            blur(values, spare, near, gain)
            values, blurred = blurred, values
            blur(spatial_values, spatial_spare, spatial_near, spatial_gain)
            spatial_spare, spatial_blurred = spatial_blurred, spatial_spare
    return blurred, spatial_blurred


@kernel
def settle(
    s: NDArray[np.float32],
    mass: NDArray[np.float32],
    certain: np.float32,
    ids: NDArray[np.int32],
    weights: NDArray[np.float32],
    corners: NDArray[np.int32],
    values: NDArray[np.float32],
    spatial_ids: NDArray[np.int32],
    spatial_weights: NDArray[np.float32],
    spatial_corners: NDArray[np.int32],
    spatial_values: NDArray[np.float32],
) -> None:
    """Splat those of n points whose |s| is above `certain`."""
    part = np.empty(CHUNK, np.float32)
    for start in range(0, s.shape[0], CHUNK):
        end = min(start + CHUNK, s.shape[0])
        for p in range(end - start):
            sign = s[start + p]
            heavy = mass[start + p] if mass.shape[0] > 0 else np.float32(1)
            part[p] = sign * heavy if abs(sign) > certain else np.float32(0)
        _splat(
            part[: end - start], ids[start:end], weights[start:end], corners, values,
            spatial_ids[start:end], spatial_weights[start:end], spatial_corners, spatial_values,
        )  # fmt: skip
