"""The dense CRF at a camera's rate: mean field on a quarter of the pixels where the classes are sure, on all elsewhere.

Building the lattice is most of a frame's cost, and it goes with the pixels that are entered. Blocks of 2x2 pixels whose
classes are sure send one, which stands for four; the others send all theirs. The filter is as wide as before. Where the
contour has moved out of those blocks the last step is taken again, for each pixel from its own colour and its own
unary. Of more than two classes those take part that occur (`occurring.py`); when more than two do, the method is
`exact` for them.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.crf import CrfParams
from engines.crf.exact import NONE, SMALLEST_PROB, ExactCrf
from engines.crf.lattice import BilateralLattice, SpatialLattice
from engines.crf.occurring import among, occurring

__all__ = ["FastCrf"]

HALVED = np.array([[0.5, 0, 0], [0, 0.5, 0]])
"""From a pixel to its place among every second one."""
SURE = 0.9
"""|Q_1 - Q_0| of the unaries from which a block sends one pixel."""
MOST_WHOLE = 0.12
"""Share of the blocks that may send all their pixels; the least sure ones do."""
BAND_RADIUS = 2
"""Blocks on both sides of the contour that are looked at again."""
UNSURE = 0.9
"""|Q_1 - Q_0| of the answer below which a pixel is looked at again wherever it lies."""
BEGUN = 2
"""Steps that all points take."""
CERTAIN = np.float32(0.95)
"""|Q_1 - Q_0| after them from which a point no longer changes."""


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
        self,
        probs: NDArray[np.float32],
        image_bgr: NDArray[np.uint8],
        iterations: int,
        start: NDArray[np.float32] | None = None,
        classes: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float32]:
        """(C, h, w) probabilities and (h, w, 3) image, both checked, to refined probabilities; a fresh array.

        Args:
            start: (C, h, w) probabilities to start from; None: `probs`.
            classes: (C,), which of more than two take part; the others come out as 0. None: those that occur.

        Raises:
            EngineError: the widths are too small for the image's size.
        """
        if iterations == 0:
            return probs.copy()
        if len(probs) == 2:
            return self._of_two(probs, image_bgr, iterations, start)
        kept = occurring(probs) if classes is None else classes
        refine = self._of_two if np.count_nonzero(kept) == 2 else self._many.mean_field
        return among(kept, refine, probs, image_bgr, iterations, start)

    def _of_two(
        self,
        probs: NDArray[np.float32],
        image_bgr: NDArray[np.uint8],
        iterations: int,
        start: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        if min(image_bgr.shape[:2]) < 2:
            return self._many.mean_field(probs, image_bgr, iterations, start)
        s = self._signs(probs, image_bgr, iterations, probs if start is None else start)
        refined = np.empty_like(probs)
        np.multiply(s, np.float32(0.5), out=refined[1])
        refined[1] += np.float32(0.5)
        np.subtract(1, refined[1], out=refined[0])
        return refined

    def _signs(
        self,
        probs: NDArray[np.float32],
        image_bgr: NDArray[np.uint8],
        iterations: int,
        start: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """As `mean_field`, to Q_1 - Q_0, (h, w) float32."""
        probs_0, probs_1 = probs[0].ravel(), probs[1].ravel()
        height, width = image_bgr.shape[:2]
        if self._sizes is None or self._sizes.shape != (height, width):
            self._sizes = _Sizes(self.params.sigma_gamma, height, width)
        sizes, lattice = self._sizes, self._lattice
        n_grid = len(sizes.grid)
        # A block's pixel as it is: means of four blur just the edges that matter.
        is_whole = self._whole_blocks(probs_1[sizes.grid] - probs_0[sizes.grid])
        others = sizes.others_of(is_whole)
        points = np.concatenate([sizes.grid, others])
        mass = np.ones(len(points), np.float32)
        mass[:n_grid] = np.where(is_whole, np.float32(1), sizes.mass)
        lattice.build_mixed(image_bgr, sizes.x, sizes.y, sizes.grid, others, mass)
        s, values, spatial_values = self._iterate(
            _log_odds(probs_0[points], probs_1[points]), start[1].ravel()[points] - start[0].ravel()[points],
            mass, others, iterations,
        )  # fmt: skip
        small_s = s[:n_grid].reshape(len(sizes.y), -1).copy()
        staggered = small_s[1::2]
        staggered[:, 1:] = (staggered[:, 1:] + staggered[:, :-1]) / 2  # back to even columns
        large = np.asarray(
            cv2.warpAffine(
                small_s, HALVED, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            ),
            np.float32,
        )  # fmt: skip
        again = self._band(small_s, large).ravel()
        again[points] = False
        pixels = np.flatnonzero(again)
        sharp = lattice.sharpen(
            pixels, image_bgr, _log_odds(probs_0[pixels], probs_1[pixels]), values, sizes.spatial, spatial_values
        )
        every = large.ravel()
        every[points] = s
        every[pixels] = sharp
        return large

    def _iterate(
        self,
        z: NDArray[np.float32],
        s: NDArray[np.float32],
        mass: NDArray[np.float32],
        others: NDArray[np.int64],
        iterations: int,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Mean field of the points that were entered; who is certain after two steps stays as he is.

        Returns:
            (points,) Q_1 - Q_0, and the last step's blurred values of both lattices.
        """
        from engines.crf.two_classes import iterate, settle

        assert self._sizes is not None, "_signs() makes it"
        sizes, lattice, spatial = self._sizes, self._lattice, self._sizes.spatial
        ids, weights = lattice.ids, lattice.weights
        spatial_ids = np.concatenate([sizes.spatial_ids, spatial.ids[others]])
        spatial_weights = np.concatenate([sizes.spatial_weights, spatial.weights[others]])
        kernels = lattice.corners, lattice.near, np.float32(self.params.w1) * lattice.gain
        spatial_kernels = spatial.corners, spatial.near, np.float32(self.params.w2) * spatial.gain
        begun = min(iterations, BEGUN)
        said = iterate(
            z, s, mass, begun, ids, weights, *kernels, spatial_ids, spatial_weights, *spatial_kernels, NONE, NONE
        )
        if begun == iterations:
            return s, *said
        settled = np.zeros(lattice.n_vertices + 1, np.float32)
        spatial_settled = np.zeros(spatial.n_vertices + 1, np.float32)
        settle(
            s, mass, CERTAIN, ids, weights, lattice.corners, settled, spatial_ids, spatial_weights, spatial.corners,
            spatial_settled,
        )  # fmt: skip
        left = np.flatnonzero(np.abs(s) <= CERTAIN)
        s_left = s[left]
        said = iterate(
            z[left], s_left, mass[left], iterations - begun, ids[left], weights[left], *kernels, spatial_ids[left],
            spatial_weights[left], *spatial_kernels, settled, spatial_settled,
        )  # fmt: skip
        s[left] = s_left
        return s, *said

    @staticmethod
    def _whole_blocks(small_s: NDArray[np.float32]) -> NDArray[np.bool_]:
        """(blocks,) which send all their pixels, of Q_1 - Q_0 of the unaries."""
        sure = np.abs(small_s)
        n_most = int(MOST_WHOLE * sure.size)
        is_whole: NDArray[np.bool_] = sure < SURE
        if np.count_nonzero(is_whole) > n_most:
            is_whole = np.zeros(sure.shape, np.bool_)
            is_whole[np.argpartition(sure, n_most)[:n_most]] = True
        return is_whole

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
    """What depends on the frame's size alone: the grid, one pixel of each block of 2x2, staggered as bricks are."""

    def __init__(self, sigma_px: float, height: int, width: int) -> None:
        self.shape = (height, width)
        self.y = np.arange(0, height, 2, dtype=np.float32)
        """Rows of the grid."""
        even = np.arange(0, width, 2, dtype=np.float32)
        self.x = np.stack([even, np.minimum(even + 1, width - 1)])
        """Columns of the grid's even and odd rows."""
        columns = self.x.astype(np.int64)[np.arange(len(self.y)) % 2]
        self.grid = (self.y.astype(np.int64)[:, None] * width + columns).ravel()
        """Places of the grid in the frame."""
        tall, wide = np.minimum(height - self.y, 2), np.minimum(width - even, 2)
        self.mass = np.asarray(tall[:, None] * wide, np.float32).ravel()
        """(blocks,) pixels of each: four, fewer at an odd end."""
        every_x, every_y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
        self.spatial = SpatialLattice(sigma_px, every_x, every_y)
        self.spatial_ids, self.spatial_weights = self.spatial.ids[self.grid], self.spatial.weights[self.grid]

    def others_of(self, is_whole: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Places of all pixels of some blocks that are not on the grid, row by row."""
        height, width = self.shape
        blocks = is_whole.reshape(len(self.y), -1)
        pixels = np.repeat(np.repeat(blocks, 2, axis=0), 2, axis=1)[:height, :width].ravel()
        pixels[self.grid] = False
        return np.flatnonzero(pixels)


def _log_odds(probs_0: NDArray[np.float32], probs_1: NDArray[np.float32]) -> NDArray[np.float32]:
    odds: NDArray[np.float32] = np.log(np.maximum(probs_1, SMALLEST_PROB))
    odds -= np.log(np.maximum(probs_0, SMALLEST_PROB))
    return odds
