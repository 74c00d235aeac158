"""The dense CRF at a camera's rate: mean field on some of the pixels, few where the classes are sure.

Building the lattice is most of a frame's cost, and it goes with the pixels that are entered: `sampling.py` chooses.
The filter is as wide as before. Where the contour has moved to pixels that took no part, the last step is taken again,
for each from its own colour and its own unary. Of more than two classes those take part that occur (`occurring.py`),
on every pixel: sampled, two classes that were left of 21 had a boundary F of 0.95 instead of 1.
"""

import numpy as np
from numpy.typing import NDArray

from engines.crf import CrfParams
from engines.crf.exact import SMALLEST_PROB, ExactCrf, shares
from engines.crf.lattice import BilateralLattice, SpatialLattice
from engines.crf.occurring import among, occurring
from engines.crf.sampling import FRAME, STILL, Grid
from engines.crf.settling import Points, of_two

__all__ = ["FastCrf"]

CERTAIN = 0.95
"""|Q_1 - Q_0| after two steps from which a point no longer changes."""
CERTAIN_OF_MANY = 0.999
"""The same where no pixel is looked at again in the end: with 0.95 three in a thousand labels were others."""

Plane = NDArray[np.float32]


class FastCrf:
    """Mean field with memory that stays; one object a stream.

    Raises:
        BackendUnavailable: numba is not installed.
    """

    def __init__(self, params: CrfParams) -> None:
        self.params = params
        self._lattice = BilateralLattice(params)
        self._many = ExactCrf(params, CERTAIN_OF_MANY)
        self._grid: Grid | None = None
        self._spatial: SpatialLattice | None = None

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
        return among(kept, self._many.mean_field, probs, image_bgr, iterations, start)

    def signs(self, log_odds: Plane, image_bgr: NDArray[np.uint8], iterations: int, start: Plane | None) -> Plane:
        """Two classes in one channel.

        Args:
            log_odds: (h, w), of the unaries' class 1 against class 0; both sides two at least.
            image_bgr: (h, w, 3), checked.
            iterations: one at least.
            start: (h, w), Q_1 - Q_0 of the frame before, moved to this one; then fewer pixels take part. None: of
                the unaries.

        Returns:
            (h, w), Q_1 - Q_0; a fresh array.

        Raises:
            EngineError: as `mean_field`.
        """
        if self._grid is None or self._spatial is None or self._grid.shape != log_odds.shape:
            self._grid = Grid(*log_odds.shape)
            at_y, at_x = (np.arange(side, dtype=np.float32) for side in log_odds.shape)
            self._spatial = SpatialLattice(self.params.sigma_gamma, at_x, at_y)
        lattice, unaries = self._lattice, log_odds.ravel()
        rules = STILL if start is None else FRAME
        chosen = self._grid.choose(log_odds, start, rules)
        lattice.build_of(image_bgr, chosen.places, chosen.mass)
        z = unaries[chosen.places]
        s = np.tanh(z / 2) if start is None else start.ravel()[chosen.places]
        points = Points.of(self.params, lattice, self._spatial, chosen.places)
        values, spatial_values = of_two(points, z, s, iterations, CERTAIN)
        small, large = self._grid.enlarged(s, chosen, rules)
        pixels = self._grid.unsettled(small, large, chosen, rules)
        every = large.ravel()
        every[chosen.places] = s
        every[pixels] = lattice.sharpen(pixels, image_bgr, unaries[pixels], values, self._spatial, spatial_values)
        return large

    def _of_two(
        self,
        probs: NDArray[np.float32],
        image_bgr: NDArray[np.uint8],
        iterations: int,
        start: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        if min(image_bgr.shape[:2]) < 2:
            return self._many.mean_field(probs, image_bgr, iterations, start)
        log_odds: Plane = np.log(np.maximum(probs[1], SMALLEST_PROB))
        log_odds -= np.log(np.maximum(probs[0], SMALLEST_PROB))
        return shares(self.signs(log_odds, image_bgr, iterations, None if start is None else start[1] - start[0]))
