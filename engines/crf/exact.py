"""The dense CRF as its authors' code computes it, compiled: the method `exact`.

Both kernels on their permutohedral lattices, symmetric normalisation, self term kept. The appearance lattice depends
on the image and is built for each; the smoothness lattice depends on the size alone and is kept.
"""

import numpy as np
from numpy.typing import NDArray

from engines.crf import CrfParams
from engines.crf.lattice import BilateralLattice, SpatialLattice
from engines.crf.settling import Points, of_many, of_two

__all__ = ["SMALLEST_PROB", "ExactCrf", "shares"]

SMALLEST_PROB = np.float32(1e-5)
"""Probabilities below are raised to this before the logarithm, as pydensecrf's own `unary_from_softmax` does."""
NO_LOG_PROB = np.float32(-1e4)
"""Of the classes that only pad a row."""

Plane = NDArray[np.float32]


class ExactCrf:
    """Mean field with memory that stays; one object a stream.

    Args:
        certain: |Q_1 - Q_0| of two classes from which a pixel no longer changes after two steps; of many the likeliest
            then has (1 + `certain`) / 2 or more. None: every pixel takes every step.

    Raises:
        BackendUnavailable: numba is not installed.
    """

    def __init__(self, params: CrfParams, certain: float | None = None) -> None:
        self.params = params
        self._certain = certain
        self._lattice = BilateralLattice(params)
        self._spatial: SpatialLattice | None = None
        self._at = (np.empty(0, np.float32), np.empty(0, np.float32))

    def mean_field(
        self,
        probs: NDArray[np.float32],
        image_bgr: NDArray[np.uint8],
        iterations: int,
        start: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """(C, h, w) probabilities and (h, w, 3) image, both checked, to refined probabilities; a fresh array.

        Args:
            start: (C, h, w) probabilities to start from; None: `probs`.

        Raises:
            EngineError: the widths are too small for the image's size.
        """
        if iterations == 0:
            return probs.copy()
        n_classes, height, width = probs.shape
        spatial = self._spatial_of(height, width)
        self._lattice.build(image_bgr, *self._at)
        unary = np.log(np.maximum(probs, SMALLEST_PROB)).reshape(n_classes, -1)
        begin = None if start is None else start.reshape(n_classes, -1)
        points = Points.of(self.params, self._lattice, spatial)
        if n_classes > 2:
            return self._many_classes(points, unary, begin, iterations).reshape(probs.shape)
        log_odds = unary[1] - unary[0]
        s = np.tanh(log_odds / 2) if begin is None else begin[1] - begin[0]
        of_two(points, log_odds, s, iterations, self._certain)
        return shares(s.reshape(height, width))

    def _many_classes(
        self, points: Points, log_probs: Plane, begin: Plane | None, iterations: int
    ) -> NDArray[np.float32]:
        from engines.crf.lanes import LANES

        n_classes, n = log_probs.shape
        padded = np.full((-(-n_classes // LANES) * LANES, n), NO_LOG_PROB, np.float32)
        padded[:n_classes] = log_probs
        probs = np.zeros_like(padded)
        if begin is None:
            np.exp(log_probs - log_probs.max(axis=0), out=probs[:n_classes])
        else:
            probs[:n_classes] = begin
        probs /= np.maximum(probs.sum(axis=0), SMALLEST_PROB)
        of_many(points, padded, probs, iterations, self._certain)
        return probs[:n_classes]

    def _spatial_of(self, height: int, width: int) -> SpatialLattice:
        x, y = self._at
        if self._spatial is None or (len(y), len(x)) != (height, width):
            at = (np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
            self._spatial = SpatialLattice(self.params.sigma_gamma, *at)
            self._at = at
        return self._spatial


def shares(s: Plane) -> NDArray[np.float32]:
    """(h, w) Q_1 - Q_0 to (2, h, w) probabilities, a fresh array."""
    probs = np.empty((2, *s.shape), np.float32)
    np.multiply(s, np.float32(0.5), out=probs[1])
    probs[1] += np.float32(0.5)
    np.subtract(1, probs[1], out=probs[0])
    return probs
