"""The dense CRF at a camera's rate: mean field on every second pixel, and the last step at full size at the contour.

Building the lattice is most of a frame's cost, and a quarter of the pixels make a quarter of the look-ups; the filter
is as wide as before. What is lost is detail at the contour, and there the last step is taken again, for each pixel
from its own colour and its own unary. With more than two classes the method is `exact` without the classes that
hardly occur.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.crf import CrfParams
from engines.crf.exact import SMALLEST_PROB, ExactCrf
from engines.crf.lattice import BilateralLattice, SpatialLattice

__all__ = ["FastCrf"]

HALVED = np.array([[0.5, 0, 0], [0, 0.5, 0]])
"""From a pixel to its place among every second one."""
BAND_RADIUS = 2
"""Small pixels on both sides of the contour that are looked at again."""
UNSURE = 0.9
"""|Q_1 - Q_0| below which a pixel is looked at again wherever it lies."""
HARDLY = 0.002
"""Mean probability below which a class takes no part."""


class FastCrf:
    """Mean field with memory that stays; one object a stream.

    Raises:
        BackendUnavailable: numba is not installed.
    """

    def __init__(self, params: CrfParams) -> None:
        self.params = params
        self._lattice = BilateralLattice(params)
        self._many = ExactCrf(params)
        self._sizes: _Sizes | None = None

    def mean_field(
        self, probs: NDArray[np.float32], image_bgr: NDArray[np.uint8], iterations: int
    ) -> NDArray[np.float32]:
        """(C, h, w) probabilities and (h, w, 3) image, both checked, to refined probabilities; a fresh array.

        Raises:
            EngineError: the widths are too small for the image's size.
        """
        height, width = image_bgr.shape[:2]
        if len(probs) > 2 or min(height, width) < 2:
            return self._many.mean_field(probs, image_bgr, iterations, drop_below=HARDLY)
        if iterations == 0:
            return probs.copy()
        log_probs = np.log(np.maximum(probs, SMALLEST_PROB))
        s = self.signs(log_probs[1] - log_probs[0], image_bgr, iterations)
        refined = np.empty_like(probs)
        np.multiply(s, np.float32(0.5), out=refined[1])
        refined[1] += np.float32(0.5)
        np.subtract(1, refined[1], out=refined[0])
        return refined

    def signs(
        self, log_odds: NDArray[np.float32], image_bgr: NDArray[np.uint8], iterations: int
    ) -> NDArray[np.float32]:
        """(h, w) log-odds of class 1 to Q_1 - Q_0, (h, w) float32."""
        from engines.crf.two_classes import iterate

        height, width = log_odds.shape
        if self._sizes is None or self._sizes.shape != (height, width):
            self._sizes = _Sizes(self.params.sigma_gamma, height, width)
        sizes, lattice = self._sizes, self._lattice
        # Every second pixel as it is. Means of four blur just the edges that matter: then labels agree with `exact` to
        # 99.62 % instead of 99.75 %, on four photographs with rough guesses.
        small_bgr = np.ascontiguousarray(image_bgr[::2, ::2])
        small_odds = np.ascontiguousarray(log_odds[::2, ::2]).ravel()
        lattice.build(small_bgr, sizes.x, sizes.y)
        small_s = np.tanh(small_odds / 2)
        values, spatial_values = iterate(
            small_odds, small_s, iterations,
            lattice.ids, lattice.weights, lattice.corners, lattice.near, np.float32(self.params.w1) * lattice.gain,
            sizes.spatial.ids, sizes.spatial.weights, sizes.spatial.corners, sizes.spatial.near,
            np.float32(self.params.w2) * sizes.spatial.gain,
        )  # fmt: skip
        small_s = small_s.reshape(len(sizes.y), len(sizes.x))
        s = np.asarray(
            cv2.warpAffine(
                small_s, HALVED, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            ),
            np.float32,
        )  # fmt: skip
        pixels = np.flatnonzero(self._band(small_s, s))
        lattice.sharpen(pixels, image_bgr, log_odds, s, values, sizes.points, spatial_values)
        return s

    def _band(self, small_s: NDArray[np.float32], s: NDArray[np.float32]) -> NDArray[np.bool_]:
        """(h, w): what is looked at again."""
        is_one = (small_s > 0).astype(np.uint8)
        around = np.ones((2 * BAND_RADIUS + 1,) * 2, np.uint8)
        contour = cv2.dilate(is_one, around) - cv2.erode(is_one, around)
        height, width = s.shape
        near = cv2.resize(contour, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        is_near: NDArray[np.bool_] = (near > 0) | (np.abs(s) < UNSURE)
        return is_near


class _Sizes:
    """What depends on the frame's size alone."""

    def __init__(self, sigma_px: float, height: int, width: int) -> None:
        self.shape = (height, width)
        self.x, self.y = np.arange(0, width, 2, dtype=np.float32), np.arange(0, height, 2, dtype=np.float32)
        self.spatial = SpatialLattice(sigma_px, self.x, self.y)
        self.points = self.spatial.points(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
