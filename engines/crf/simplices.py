"""Where a pixel lies in the permutohedral lattice: its simplex, and its weights for the simplex's corners.

Adams, Baek and Davis 2010, section 4: features are lifted into the plane of d + 1 coordinates that add up to zero,
the nearest lattice point of remainder 0 is found by rounding, and the order of what is left over says which simplex
of that point's surroundings it is. Everything is one pass without branches over arrays of pixels, so that the
compiler can do eight at once; with d = 5 that costs 6 ns a pixel.

A simplex is named by two int32 words that hold its remainder-0 point (in units of d + 1) and the order of the
residuals; neighbouring pixels mostly share it. The trap: the fields have 10 and 9 bits, so features must stay
within `LARGEST`; `features` scales see to that.
"""

import math

import numpy as np
from numpy.typing import NDArray

from engines.crf.compiled import kernel

__all__ = ["LARGEST", "LARGEST_2D", "lifted_scale", "locate_2d", "locate_5d"]

LARGEST = 250
"""Steps of d + 1 that a lifted coordinate may be away from zero, with five axes."""
LARGEST_2D = 1 << 16
"""With two axes: what a float32 still tells apart."""

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
TWO, THREE, FOUR, FIVE, SIX = np.float32(2), np.float32(3), np.float32(4), np.float32(5), np.float32(6)


def lifted_scale(sigmas: tuple[float, ...]) -> NDArray[np.float32]:
    """(d,) factors from features to lifted coordinates, in units of d + 1.

    The scale makes the blur of [1/2 1 1/2] along each axis a Gaussian of standard deviation 1 in the features'
    units (Adams et al. 2010, section 4.1): sqrt(2/3) (d + 1) / sqrt((i + 1) (i + 2)).
    """
    n = len(sigmas)
    spread = math.sqrt(2 / 3) * (n + 1)
    scales = [spread / math.sqrt((i + 1) * (i + 2)) / sigma / (n + 1) for i, sigma in enumerate(sigmas)]
    return np.array(scales, np.float32)


@kernel
def locate_5d(  # noqa: PLR0915 - one straight line of arithmetic, on purpose
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    c0: NDArray[np.float32],
    c1: NDArray[np.float32],
    c2: NDArray[np.float32],
    scale: NDArray[np.float32],
    low: NDArray[np.int32],
    high: NDArray[np.int32],
    weights: NDArray[np.float32],
) -> None:
    """Name the simplex of n points (`low`, `high`) and weigh its six corners (`weights` (6, n), by remainder)."""
    s0, s1, s2, s3, s4 = scale[0], scale[1], scale[2], scale[3], scale[4]
    for p in range(low.shape[0]):
        # Lift: coordinates that add up to zero.
        f0, f1, f2, f3, f4 = x[p] * s0, y[p] * s1, c0[p] * s2, c1[p] * s3, c2[p] * s4
        v5 = -FIVE * f4
        v4 = f4 - FOUR * f3
        above = f4 + f3
        v3 = above - THREE * f2
        above = above + f2
        v2 = above - TWO * f1
        above = above + f1
        v1 = above - f0
        v0 = above + f0
        # Round each, keep what is left over.
        n0, n1, n2 = np.floor(v0 + HALF), np.floor(v1 + HALF), np.floor(v2 + HALF)
        n3, n4, n5 = np.floor(v3 + HALF), np.floor(v4 + HALF), np.floor(v5 + HALF)
        v0, v1, v2, v3, v4, v5 = v0 - n0, v1 - n1, v2 - n2, v3 - n3, v4 - n4, v5 - n5
        excess = n0 + n1 + n2 + n3 + n4 + n5
        # Rank: how many others have more left over; of equals the first has.
        a01 = ONE if v0 < v1 else ZERO
        a02 = ONE if v0 < v2 else ZERO
        a03 = ONE if v0 < v3 else ZERO
        a04 = ONE if v0 < v4 else ZERO
        a05 = ONE if v0 < v5 else ZERO
        a12 = ONE if v1 < v2 else ZERO
        a13 = ONE if v1 < v3 else ZERO
        a14 = ONE if v1 < v4 else ZERO
        a15 = ONE if v1 < v5 else ZERO
        a23 = ONE if v2 < v3 else ZERO
        a24 = ONE if v2 < v4 else ZERO
        a25 = ONE if v2 < v5 else ZERO
        a34 = ONE if v3 < v4 else ZERO
        a35 = ONE if v3 < v5 else ZERO
        a45 = ONE if v4 < v5 else ZERO
        r0 = a01 + a02 + a03 + a04 + a05 + excess
        r1 = ONE - a01 + a12 + a13 + a14 + a15 + excess
        r2 = TWO - a02 - a12 + a23 + a24 + a25 + excess
        r3 = THREE - a03 - a13 - a23 + a34 + a35 + excess
        r4 = FOUR - a04 - a14 - a24 - a34 + a45 + excess
        r5 = FIVE - a05 - a15 - a25 - a35 - a45 + excess
        # The rounded point must add up to zero: those that were rounded furthest are put back by one.
        t0 = ONE if r0 < ZERO else (-ONE if r0 > FIVE else ZERO)
        t1 = ONE if r1 < ZERO else (-ONE if r1 > FIVE else ZERO)
        t2 = ONE if r2 < ZERO else (-ONE if r2 > FIVE else ZERO)
        t3 = ONE if r3 < ZERO else (-ONE if r3 > FIVE else ZERO)
        t4 = ONE if r4 < ZERO else (-ONE if r4 > FIVE else ZERO)
        t5 = ONE if r5 < ZERO else (-ONE if r5 > FIVE else ZERO)
        v0, v1, v2, v3, v4, v5 = v0 - t0, v1 - t1, v2 - t2, v3 - t3, v4 - t4, v5 - t5
        r0, r1, r2, r3, r4 = r0 + SIX * t0, r1 + SIX * t1, r2 + SIX * t2, r3 + SIX * t3, r4 + SIX * t4
        i0, i1, i2 = np.int32(n0 + t0), np.int32(n1 + t1), np.int32(n2 + t2)
        i3, i4 = np.int32(n3 + t3), np.int32(n4 + t4)
        order = np.int32(r0 + SIX * (r1 + SIX * (r2 + SIX * (r3 + SIX * r4))))
        low[p] = (i0 + np.int32(512)) | ((i1 + np.int32(512)) << np.int32(10)) | ((i2 + np.int32(512)) << np.int32(20))
        high[p] = (i3 + np.int32(256)) | ((i4 + np.int32(256)) << np.int32(9)) | (order << np.int32(18))
        # Weights are differences of the residuals in falling order (ibid., proposition 4.2): sort six by a network.
        v0, v5 = max(v0, v5), min(v0, v5)
        v1, v3 = max(v1, v3), min(v1, v3)
        v2, v4 = max(v2, v4), min(v2, v4)
        v1, v2 = max(v1, v2), min(v1, v2)
        v3, v4 = max(v3, v4), min(v3, v4)
        v0, v3 = max(v0, v3), min(v0, v3)
        v2, v5 = max(v2, v5), min(v2, v5)
        v0, v1 = max(v0, v1), min(v0, v1)
        v2, v3 = max(v2, v3), min(v2, v3)
        v4, v5 = max(v4, v5), min(v4, v5)
        v1, v2 = max(v1, v2), min(v1, v2)
        v3, v4 = max(v3, v4), min(v3, v4)
        weights[0, p] = ONE + v5 - v0
        weights[1, p] = v4 - v5
        weights[2, p] = v3 - v4
        weights[3, p] = v2 - v3
        weights[4, p] = v1 - v2
        weights[5, p] = v0 - v1


@kernel
def locate_2d(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    scale: NDArray[np.float32],
    low: NDArray[np.int32],
    high: NDArray[np.int32],
    weights: NDArray[np.float32],
) -> None:
    """The same with two axes: three corners, `weights` (3, n). It is done once a size, so plainly."""
    for p in range(low.shape[0]):
        f0, f1 = x[p] * scale[0], y[p] * scale[1]
        v0, v1, v2 = f1 + f0, f1 - f0, -TWO * f1
        n0, n1, n2 = np.floor(v0 + HALF), np.floor(v1 + HALF), np.floor(v2 + HALF)
        v0, v1, v2 = v0 - n0, v1 - n1, v2 - n2
        excess = n0 + n1 + n2
        a01 = ONE if v0 < v1 else ZERO
        a02 = ONE if v0 < v2 else ZERO
        a12 = ONE if v1 < v2 else ZERO
        r0 = a01 + a02 + excess
        r1 = ONE - a01 + a12 + excess
        r2 = TWO - a02 - a12 + excess
        t0 = ONE if r0 < ZERO else (-ONE if r0 > TWO else ZERO)
        t1 = ONE if r1 < ZERO else (-ONE if r1 > TWO else ZERO)
        t2 = ONE if r2 < ZERO else (-ONE if r2 > TWO else ZERO)
        v0, v1, v2 = v0 - t0, v1 - t1, v2 - t2
        r0, r1 = r0 + THREE * t0, r1 + THREE * t1
        low[p] = np.int32(n0 + t0)
        high[p] = (np.int32(n1 + t1) << np.int32(4)) | np.int32(r0 + THREE * r1)
        v0, v2 = max(v0, v2), min(v0, v2)
        v0, v1 = max(v0, v1), min(v0, v1)
        v1, v2 = max(v1, v2), min(v1, v2)
        weights[0, p] = ONE + v2 - v0
        weights[1, p] = v1 - v2
        weights[2, p] = v0 - v1
