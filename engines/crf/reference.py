"""The dense CRF of its authors, through pydensecrf: slow, exact enough to compare others with.

Mean field over the permutohedral lattice in C++, one core. The trap: the lattice depends on the
image, so it is built anew for every frame, and that is most of the time.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.crf import REMEDY, CrfParams
from engines.errors import BackendUnavailable, EngineError

__all__ = ["ReferenceCrf", "mean_field"]

SMALLEST_PROB = 1e-5
"""Probabilities below are raised to this before the logarithm, as pydensecrf's own `unary_from_softmax` does."""


class ReferenceCrf:
    """Mean field by pydensecrf; nothing is kept from frame to frame.

    Raises:
        BackendUnavailable: pydensecrf is not installed.
    """

    def __init__(self, params: CrfParams) -> None:
        self.params = params
        _densecrf()

    def mean_field(
        self,
        probs: NDArray[np.float32],
        image_bgr: NDArray[np.uint8],
        iterations: int,
        start: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """See `Solver`; it cannot be told where to start."""
        if start is not None:
            raise EngineError("pydensecrf always starts from the unaries; leave `start` out, or take exact or fast")
        return mean_field(probs, image_bgr, self.params, iterations)


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
