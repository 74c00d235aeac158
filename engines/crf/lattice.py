"""The permutohedral lattice of one image: built per frame in memory that stays.

Adams, Baek and Davis 2010. Values are splatted onto the corners of each pixel's simplex, blurred along the
lattice's axes, and sliced back: a Gaussian filter over (x, y, colour) whose cost hardly depends on its width.
The trap: `weights` are normalised in place (symmetrically, n_p of Krähenbühl and Koltun's code): splat and slice
both use them, and what comes out is n_p L(n_q v_q).
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from engines.crf import CrfParams
from engines.crf.compiled import kernel
from engines.crf.simplices import LARGEST, LARGEST_2D, lifted_scale
from engines.crf.table import enter_rows, moved, neighbours
from engines.errors import EngineError

__all__ = ["BilateralLattice", "Lattice", "SpatialLattice", "blur"]

Integer = TypeVar("Integer", np.int32, np.int64)

LEAST_SLOTS = 1 << 12
TINY = np.float32(1e-20)
"""Added before the root, as pydensecrf does."""


class Lattice:
    """Points, simplices and lattice points of d axes; tables grow when a row might not fit, and never shrink."""

    def __init__(self, sigmas: tuple[float, ...]) -> None:
        n_axes = len(sigmas)
        self.n_corners = n_axes + 1
        self.sigmas = sigmas
        self.scale = lifted_scale(sigmas)
        self.gain = np.float32(1 / (1 + 2.0**-n_axes))
        """What the blur's weights add up to too much (ibid., section 4.3)."""
        self.ids: NDArray[np.int32] = np.empty(0, np.int32)
        """(n,) simplex of each point."""
        self.weights: NDArray[np.float32] = np.empty((0, self.n_corners), np.float32)
        """(n, d + 1) of each point for its simplex's corners."""
        self.density: NDArray[np.float32] = np.empty(0, np.float32)
        """(vertices + 1,) the filter of all ones, on the lattice."""
        self.mass: NDArray[np.float32] = np.empty(0, np.float32)
        """(n,) how many pixels each point stands for; empty: one each."""
        self._ids, self._weights = self.ids, self.weights
        self._counts = np.zeros(2, np.int64)
        self._since = 0
        self._simplices = _table(LEAST_SLOTS)
        self._vertices = _table(LEAST_SLOTS)
        self.corners: NDArray[np.int32] = np.empty((LEAST_SLOTS // 2, self.n_corners), np.int32)
        """(simplices and more, d + 1) lattice points."""
        self._packed: NDArray[np.int64] = np.empty(LEAST_SLOTS // 2, np.int64)
        self._near = np.empty(0, np.int32)
        self.near: NDArray[np.int32] = np.empty((self.n_corners, 2, 0), np.int32)
        """(d + 1, 2, vertices) neighbours along each axis."""

    @property
    def n_simplices(self) -> int:
        """Simplices that hold a point."""
        return int(self._counts[0])

    @property
    def n_vertices(self) -> int:
        """Lattice points; the values of a filter have one more, which stays 0."""
        return int(self._counts[1])

    def _begin(self, n_points: int) -> None:
        self._since += int(self._counts.max()) + 1
        self._counts[:] = 0
        if len(self._ids) < n_points:
            self._ids = np.empty(n_points, np.int32)
            self._weights = np.empty((n_points, self.n_corners), np.float32)
        self.ids, self.weights = self._ids[:n_points], self._weights[:n_points]

    def _make_room(self, n_points: int) -> None:
        """For so many points more, should each lie in a simplex of its own with corners of its own."""
        self._simplices = _roomy(self._simplices, self.n_simplices + n_points, self._since)
        self._vertices = _roomy(self._vertices, self.n_vertices + n_points * self.n_corners, self._since)
        if len(self.corners) < self.n_simplices + n_points:
            self.corners = _longer(self.corners, self.n_simplices, n_points)
        if len(self._packed) < self.n_vertices + n_points * self.n_corners:
            self._packed = _longer(self._packed, self.n_vertices, n_points * self.n_corners)

    def _enter(self, image_bgr: NDArray[np.uint8], x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        """Every pixel of an image; the kernel stops when a row might not fit, and is called again with more room."""
        row = 0
        while row < len(y):
            self._make_room(len(x))
            row = enter_rows(
                row, image_bgr, x, y, self.scale, self.ids, self.weights, self._simplices, self.corners,
                self._vertices, self._packed, self._counts, self._since,
            )  # fmt: skip

    def _end(self) -> None:
        """All points are in: who neighbours whom, and the symmetric normalisation."""
        n = self.n_vertices
        size = self.n_corners * 2 * n
        if len(self._near) < size:
            self._near = np.empty(size + size // 4, np.int32)
        self.near = self._near[:size].reshape(self.n_corners, 2, n)
        neighbours(self._packed, n, self._vertices, self._since, self.near)
        self.density = np.zeros(n + 1, np.float32)
        normalise(self.ids, self.weights, self.mass, self.corners, self.near, self.density, self.gain)


class BilateralLattice(Lattice):
    """Position and colour: the appearance kernel."""

    def __init__(self, params: CrfParams) -> None:
        super().__init__((params.sigma_alpha, params.sigma_alpha, *(params.sigma_beta,) * 3))
        self.params = params

    def build(self, image_bgr: NDArray[np.uint8], x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        """Enter every pixel of an (h, w, 3) image.

        Args:
            x, y: (w,), (h,) float32: where columns and rows lie, in pixels of the frame the widths are meant for.

        Raises:
            EngineError: the widths are too small for the image's size: the lattice would have more points than names.
        """
        self.check_reach(float(x[-1]), float(y[-1]))
        self._begin(len(x) * len(y))
        self._enter(image_bgr, x, y)
        self._end()

    def build_of(self, image_bgr: NDArray[np.uint8], pixels: NDArray[np.int64], mass: NDArray[np.float32]) -> None:
        """Enter some pixels of an (h, w, 3) image.

        Args:
            pixels: (n,) places in the image, row by row.
            mass: (n,) how many pixels each stands for.

        Raises:
            EngineError: as `build`.
        """
        from engines.crf.band import CHUNK, enter_pixels

        height, width = image_bgr.shape[:2]
        self.check_reach(width - 1, height - 1)
        self.mass = mass
        self._begin(len(pixels))
        done = 0
        while done < len(pixels):
            self._make_room(CHUNK)
            done = enter_pixels(
                done, pixels, image_bgr, self.scale, self.ids, self.weights, self._simplices, self.corners,
                self._vertices, self._packed, self._counts, self._since,
            )  # fmt: skip
        self._end()

    def sharpen(
        self,
        pixels: NDArray[np.int64],
        image_bgr: NDArray[np.uint8],
        log_odds: NDArray[np.float32],
        values: NDArray[np.float32],
        spatial: "SpatialLattice",
        spatial_values: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Take the last step of mean field for (n,) other pixels of the frame; see `engines.crf.band`.

        Args:
            log_odds: (n,) their unaries.

        Returns:
            (n,) Q_1 - Q_0.
        """
        from engines.crf.band import CHUNK, sharpen

        s = np.empty(len(pixels), np.float32)
        done = 0
        while done < len(pixels):
            self._make_room(CHUNK)
            done = sharpen(
                done, pixels, image_bgr, log_odds, s, self.scale, self._simplices, self.corners, self._vertices,
                self._packed, self._counts, self._since, values, self.density,
                spatial.ids, spatial.weights, spatial.corners, spatial_values,
            )  # fmt: skip
        return s

    def check_reach(self, x: float, y: float) -> None:
        """Refuse widths that are too small for a frame whose last pixel is (x, y)."""
        reach = np.array([x, y, 255, 255, 255]) @ np.array(self.scale, float)
        reach = max(reach, *(np.array([1, 2, 3, 4, 5]) * self.scale * [x, y, 255, 255, 255]))
        widths = f"sigma_alpha {self.params.sigma_alpha:g} and sigma_beta {self.params.sigma_beta:g}"
        _refuse_beyond(LARGEST, float(reach), widths, x, y)


class SpatialLattice(Lattice):
    """Position alone: the smoothness kernel. It does not depend on the image, so it is made once a size."""

    def __init__(self, sigma_px: float, x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        super().__init__((sigma_px, sigma_px))
        right, below = float(x[-1]) * float(self.scale[0]), float(y[-1]) * float(self.scale[1])
        _refuse_beyond(
            LARGEST_2D, max(right + below, 2 * below), f"sigma_gamma {sigma_px:g}", float(x[-1]), float(y[-1])
        )
        self._begin(len(x) * len(y))
        self._enter(np.empty((len(y), len(x), 0), np.uint8), x, y)
        self._end()


def _refuse_beyond(largest: int, reach: float, widths: str, x: float, y: float) -> None:
    if not reach <= largest:  # written so that NaN fails too
        raise EngineError(
            f"CRF widths {widths} are too small for a frame of {x + 1:.0f}x{y + 1:.0f}: "
            f"{reach / largest:.1f} times what the lattice can name; make them wider"
        )


def _table(n_slots: int) -> NDArray[np.int64]:
    """Empty: no number is below 1 (`Lattice._begin`)."""
    return np.zeros((n_slots, 2), np.int64)


def _roomy(table: NDArray[np.int64], n_entries: int, since: int) -> NDArray[np.int64]:
    """The table, or a larger one with all that it held, of which so many entries are at most a half."""
    n_slots = len(table)
    while n_slots < 2 * n_entries:
        n_slots *= 2
    if n_slots == len(table):
        return table
    larger = _table(n_slots)
    moved(table, larger, since)
    return larger


def _longer(array: NDArray[Integer], n_used: int, n_more: int) -> NDArray[Integer]:
    longer: NDArray[Integer] = np.empty((2 * (n_used + n_more), *array.shape[1:]), array.dtype)
    longer[:n_used] = array[:n_used]
    return longer


@kernel
def blur(
    values: NDArray[np.float32], spare: NDArray[np.float32], near: NDArray[np.int32], gain: np.float32
) -> NDArray[np.float32]:
    """[1/2 1 1/2] along each axis in turn, times `gain`; both arrays are used up, one of them is returned.

    Args:
        values, spare: (vertices + 1,); the last stays 0.
    """
    half = np.float32(0.5)
    last = values.shape[0] - 1
    for axis in range(near.shape[0]):
        before, after = near[axis, 0], near[axis, 1]
        for vertex in range(last):
            spare[vertex] = values[vertex] + half * (values[before[vertex]] + values[after[vertex]])
        spare[last] = np.float32(0)
        values, spare = spare, values
    for vertex in range(last):
        values[vertex] *= gain
    return values


@kernel
def normalise(
    ids: NDArray[np.int32],
    weights: NDArray[np.float32],
    mass: NDArray[np.float32],
    corners: NDArray[np.int32],
    near: NDArray[np.int32],
    density: NDArray[np.float32],
    gain: np.float32,
) -> None:
    """Multiply each point's weights by n_p = 1 / sqrt(L(m)_p); `density` becomes L(m) on the lattice, m the mass."""
    n_corners = corners.shape[1]
    spare = np.empty_like(density)
    for p in range(ids.shape[0]):
        stands_for = mass[p] if mass.shape[0] > 0 else np.float32(1)
        for k in range(n_corners):
            density[corners[ids[p], k]] += weights[p, k] * stands_for
    blurred = blur(density, spare, near, gain)
    for p in range(ids.shape[0]):
        met = np.float32(0)
        for k in range(n_corners):
            met += weights[p, k] * blurred[corners[ids[p], k]]
        share = np.float32(1) / np.sqrt(met + TINY)
        for k in range(n_corners):
            weights[p, k] *= share
    density[:] = blurred
