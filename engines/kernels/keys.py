"""How points of the permutohedral lattice are packed into one 64-bit number each: plain numpy, before any kernel.

Its twin is the packing of `engines.crf.table`, whose fields are fixed; here every coordinate gets the bits that the
picture's size and the widths ask for. A step along an axis adds the same number to any key, because no field ever
overflows into the next: what does not fit is refused before anything is built.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineError

__all__ = ["KEY_BITS", "Fields", "lifting"]

KEY_BITS = 63
"""Of a signed 64-bit integer that stays positive."""
ROOM = 3
"""Steps of d + 1 beyond the features' own range: two to the corners of the outermost simplices, one to neighbours."""


def lifting(sigmas: tuple[float, ...]) -> NDArray[np.float64]:
    """(d, d + 1): features times this are coordinates that add up to zero, in units of d + 1.

    Adams, Baek and Davis 2010, section 4.1: coordinate j gets every scaled feature from j on, and -j times the one
    before. The scale makes a blur of [1/2 1 1/2] along every axis a Gaussian of standard deviation 1.
    """
    d = len(sigmas)
    at = np.arange(d)
    scale = math.sqrt(2 / 3) / np.sqrt((at + 1.0) * (at + 2.0)) / np.array(sigmas)
    matrix = np.zeros((d, d + 1))
    for j in range(d + 1):
        matrix[j:, j] = 1
        if j > 0:
            matrix[j - 1, j] = -j
    return np.asarray(matrix * scale[:, None])


@dataclass(frozen=True)
class Fields:
    """Where the first d coordinates of a lattice point lie in its key; the last follows from them."""

    offsets: tuple[int, ...]
    """Added to each coordinate, so that none is negative."""
    shifts: tuple[int, ...]
    """Lowest bit of each."""

    @classmethod
    def of(cls, matrix: NDArray[np.float64], largest: tuple[float, ...], name: str) -> "Fields":
        """For features from 0 to `largest`.

        Raises:
            EngineError: the keys would have more than 63 bits; `name` says whose widths are too small.
        """
        d = len(largest)
        ends = matrix[:, :d] * np.array(largest)[:, None] * (d + 1)
        # What follows is exact below 2^53, and above it is refused anyway.
        low = np.floor(np.minimum(ends, 0).sum(axis=0)) - ROOM * (d + 1)
        high = np.ceil(np.maximum(ends, 0).sum(axis=0)) + ROOM * (d + 1)
        bits = np.ceil(np.log2(high - low + 1))
        if not bits.sum() <= KEY_BITS:
            raise EngineError(
                f"CRF widths {name} are too small for features up to {tuple(round(value) for value in largest)}: "
                f"a lattice point would need {bits.sum():.0f} bits of {KEY_BITS}; make them wider"
            )
        shifts = np.concatenate([[0], np.cumsum(bits)[:-1]])
        return cls(tuple(int(-value) for value in low), tuple(int(value) for value in shifts))

    @property
    def steps(self) -> tuple[int, ...]:
        """What one step along each of the d + 1 axes adds to a key: one on every coordinate, d + 1 back on its own."""
        d = len(self.shifts)
        ones = sum(1 << shift for shift in self.shifts)
        return (*(ones - ((d + 1) << shift) for shift in self.shifts), ones)
