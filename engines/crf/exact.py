"""The dense CRF as its authors' code computes it, compiled: the method `exact`.

Both kernels on their permutohedral lattices, symmetric normalisation, self term kept. The appearance lattice depends
on the image and is built for each; the smoothness lattice depends on the size alone and is kept.
"""

import numpy as np
from numpy.typing import NDArray

from engines.crf import CrfParams
from engines.crf.lattice import BilateralLattice, SpatialLattice

__all__ = ["SMALLEST_PROB", "ExactCrf"]

SMALLEST_PROB = np.float32(1e-5)
"""Probabilities below are raised to this before the logarithm, as pydensecrf's own `unary_from_softmax` does."""
NONE = np.empty(0, np.float32)
NO_LOG_PROB = np.float32(-1e4)
"""Of the classes that only pad a row."""


class ExactCrf:
    """Mean field with memory that stays; one object a stream.

    Raises:
        BackendUnavailable: numba is not installed.
    """

    def __init__(self, params: CrfParams) -> None:
        self.params = params
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
        if n_classes > 2:
            return self._many_classes(unary, begin, iterations, spatial).reshape(probs.shape)
        refined = np.empty_like(probs)
        refined[1] = self._two_classes(unary[1] - unary[0], begin, iterations, spatial).reshape(height, width)
        np.subtract(1, refined[1], out=refined[0])
        return refined

    def _two_classes(
        self,
        log_odds: NDArray[np.float32],
        begin: NDArray[np.float32] | None,
        iterations: int,
        spatial: SpatialLattice,
    ) -> NDArray[np.float32]:
        from engines.crf.two_classes import iterate

        lattice, params = self._lattice, self.params
        s = np.tanh(log_odds / 2) if begin is None else begin[1] - begin[0]
        iterate(
            log_odds, s, lattice.mass, iterations,
            lattice.ids, lattice.weights, lattice.corners, lattice.near, np.float32(params.w1) * lattice.gain,
            spatial.ids, spatial.weights, spatial.corners, spatial.near, np.float32(params.w2) * spatial.gain,
            NONE, NONE,
        )  # fmt: skip
        return s * np.float32(0.5) + np.float32(0.5)

    def _many_classes(
        self,
        log_probs: NDArray[np.float32],
        begin: NDArray[np.float32] | None,
        iterations: int,
        spatial: SpatialLattice,
    ) -> NDArray[np.float32]:
        from engines.crf.lanes import LANES
        from engines.crf.many_classes import iterate

        lattice, params = self._lattice, self.params
        n_classes, n = log_probs.shape
        padded = np.full((-(-n_classes // LANES) * LANES, n), NO_LOG_PROB, np.float32)
        padded[:n_classes] = log_probs
        probs = np.zeros_like(padded)
        if begin is None:
            np.exp(log_probs - log_probs.max(axis=0), out=probs[:n_classes])
        else:
            probs[:n_classes] = begin
        probs /= np.maximum(probs.sum(axis=0), SMALLEST_PROB)
        iterate(
            padded, probs, iterations,
            lattice.ids, lattice.weights, lattice.corners, lattice.near, np.float32(params.w1) * lattice.gain,
            spatial.ids, spatial.weights, spatial.corners, spatial.near, np.float32(params.w2) * spatial.gain,
        )  # fmt: skip
        return probs[:n_classes]

    def _spatial_of(self, height: int, width: int) -> SpatialLattice:
        x, y = self._at
        if self._spatial is None or (len(y), len(x)) != (height, width):
            at = (np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
            self._spatial = SpatialLattice(self.params.sigma_gamma, *at)
            self._at = at
        return self._spatial
