"""The dense CRF of its authors, through pydensecrf: slow, exact enough to compare others with.

Mean field over the permutohedral lattice in C++, one core. The trap: the lattice depends on the
image, so it is built anew for every frame, and that is most of the time.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.crf import REMEDY, CrfParams, check_input, params_of
from engines.errors import BackendUnavailable, EngineError, InputSizeError

__all__ = ["ReferenceCrf", "mean_field"]

SMALLEST_PROB = 1e-5
"""Probabilities below are raised to this before the logarithm, as pydensecrf's own `unary_from_softmax` does."""


class ReferenceCrf:
    """The CRF of a stream: engine logits in, refined probabilities at engine size out.

    Raises:
        BackendUnavailable: pydensecrf is not installed.
    """

    def __init__(self, params: str | CrfParams = "crf-readme", iterations: int = 5) -> None:
        self.params = params_of(params)
        self.iterations = iterations
        self._probs = np.empty((0, 0, 0), np.float32)
        _densecrf()

    def refine(self, logits: NDArray[np.float32], tensor_bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Upsample, softmax, mean field.

        Args:
            logits: (C, h/4, w/4) float32 (float16 is taken too), before softmax.
            tensor_bgr: (h, w, 3) uint8, what the engine saw.

        Returns:
            (C, h, w) float32, sums to 1 over C; a fresh array.

        Raises:
            InputSizeError, EngineError: as `engines.crf.refine`.
        """
        if logits.ndim != 3 or logits.dtype.kind != "f":
            raise InputSizeError(f"CRF logits are {logits.dtype} {logits.shape}, expected float32 (C, h/4, w/4)")
        if not np.isfinite(logits).all():
            raise EngineError("CRF logits hold NaN or infinity, expected finite numbers")
        height, width = tensor_bgr.shape[:2]
        shape = (logits.shape[0], height, width)
        if self._probs.shape != shape:
            self._probs = np.empty(shape, np.float32)
        for plane, small in zip(self._probs, logits, strict=True):
            cv2.resize(np.asarray(small, np.float32), (width, height), dst=plane, interpolation=cv2.INTER_LINEAR)
        self._probs -= self._probs.max(axis=0)
        np.exp(self._probs, out=self._probs)
        self._probs /= self._probs.sum(axis=0)
        check_input(self._probs, tensor_bgr)
        return mean_field(self._probs, tensor_bgr, self.params, self.iterations)


def mean_field(
    probs: NDArray[np.float32], image_bgr: NDArray[np.uint8], params: CrfParams, iterations: int
) -> NDArray[np.float32]:
    """(C, h, w) probabilities and (h, w, 3) image, both checked, to refined probabilities; a fresh array."""
    densecrf = _densecrf()
    n_classes, height, width = probs.shape
    if iterations == 0:
        return probs.copy()
    crf = densecrf.DenseCRF2D(width, height, n_classes)
    unary = -np.log(np.maximum(probs, np.float32(SMALLEST_PROB)))
    crf.setUnaryEnergy(np.ascontiguousarray(unary.reshape(n_classes, -1)))
    if params.w2:
        crf.addPairwiseGaussian(sxy=params.sigma_gamma, compat=params.w2)
    if params.w1:
        # The order of the colours does not matter: the kernel has one width for all three.
        crf.addPairwiseBilateral(
            sxy=params.sigma_alpha, srgb=params.sigma_beta, rgbim=np.ascontiguousarray(image_bgr), compat=params.w1
        )
    # The matrix belongs to the CRF object, which ends with this call.
    return np.array(crf.inference(iterations), np.float32).reshape(probs.shape)


def _densecrf() -> Any:
    try:
        from pydensecrf import densecrf
    except ImportError as error:
        raise BackendUnavailable(f"the reference CRF needs pydensecrf ({error}); {REMEDY}") from error
    return densecrf
