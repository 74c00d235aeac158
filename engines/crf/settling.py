"""Mean field in two parts: points that are certain after two steps stay as they are, the others go on.

Most of a picture is certain at once and says the same to its lattice points in every further step. So that is said
once and kept, and the steps go over the points that are left: a tenth of them, about.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.crf import CrfParams
from engines.crf.lattice import Lattice

__all__ = ["BEGUN", "Points", "of_many", "of_two"]

BEGUN = 2
"""Steps that all points take."""

Plane = NDArray[np.float32]
Kernel = tuple[NDArray[np.int32], Plane, NDArray[np.int32], NDArray[np.int32], np.float32]
"""Ids, weights, corners, neighbours, gain."""


@dataclass(frozen=True, eq=False)
class Points:
    """Points of a frame, and the two lattices that they talk over."""

    params: CrfParams
    lattice: Lattice
    spatial: Lattice
    ids: NDArray[np.int32]
    """(n,) simplices of `lattice`, with (n, 6) `weights`."""
    weights: Plane
    spatial_ids: NDArray[np.int32]
    spatial_weights: Plane
    mass: Plane
    """(n,) pixels that each stands for; empty: one each."""

    @classmethod
    def of(
        cls, params: CrfParams, lattice: Lattice, spatial: Lattice, places: NDArray[np.int64] | None = None
    ) -> "Points":
        """All that were entered into `lattice`.

        Args:
            places: (n,) where they lie in the frame; None: they are all of its pixels.
        """
        ids, weights = spatial.ids, spatial.weights
        if places is not None:
            ids, weights = ids.take(places), weights.take(places, axis=0)
        return cls(params, lattice, spatial, lattice.ids, lattice.weights, ids, weights, lattice.mass)

    def some(self, which: NDArray[np.int64]) -> "Points":
        """Some of them."""
        mass = self.mass[which] if len(self.mass) else self.mass
        return Points(
            self.params, self.lattice, self.spatial, self.ids.take(which), self.weights.take(which, axis=0),
            self.spatial_ids.take(which), self.spatial_weights.take(which, axis=0), mass,
        )  # fmt: skip

    @property
    def kernels(self) -> tuple[Kernel, Kernel]:
        """Both lattices as the compiled loops take them."""
        lattice, spatial, params = self.lattice, self.spatial, self.params
        return (
            (self.ids, self.weights, lattice.corners, lattice.near, np.float32(params.w1) * lattice.gain),
            (self.spatial_ids, self.spatial_weights, spatial.corners, spatial.near,
             np.float32(params.w2) * spatial.gain),
        )  # fmt: skip


def of_two(points: Points, z: Plane, s: Plane, iterations: int, certain: float | None) -> tuple[Plane, Plane]:
    """Mean field of two classes in one channel.

    Args:
        z: (n,) log-odds of the unaries.
        s: (n,) Q_1 - Q_0 to start from; overwritten with the result.
        iterations: of all; one at least.
        certain: |Q_1 - Q_0| from which a point no longer changes; None: every point takes every step.

    Returns:
        What the last step sliced: the blurred values of both lattices, (vertices + 1,).
    """
    from engines.crf.two_classes import iterate, settle

    nothing = np.empty(0, np.float32)
    begun = iterations if certain is None else min(iterations, BEGUN)
    near, far = points.kernels
    said: tuple[Plane, Plane] = iterate(z, s, points.mass, begun, *near, *far, nothing, nothing)
    if certain is None or begun == iterations:
        return said
    lattice, spatial = points.lattice, points.spatial
    settled, spatial_settled = np.zeros_like(said[0]), np.zeros_like(said[1])
    settle(
        s, points.mass, np.float32(certain), points.ids, points.weights, lattice.corners, settled,
        points.spatial_ids, points.spatial_weights, spatial.corners, spatial_settled,
    )  # fmt: skip
    left = np.flatnonzero(np.abs(s) <= np.float32(certain))
    some, s_left = points.some(left), s[left]
    near, far = some.kernels
    said = iterate(z[left], s_left, some.mass, iterations - begun, *near, *far, settled, spatial_settled)
    s[left] = s_left
    return said


def of_many(points: Points, unary: Plane, probs: Plane, iterations: int, certain: float | None) -> None:
    """Mean field of any number of classes; points that stand for one pixel each.

    Args:
        unary: (K, n) log-probabilities, in rows as `many_classes.iterate` wants them.
        probs: (K, n) to start from; overwritten with the result.
        iterations: of all; one at least.
        certain: as with two classes, whose likelier one has (1 + `certain`) / 2; None: every point takes every step.
    """
    from engines.crf.many_classes import iterate, settle

    nothing = np.empty((0, len(unary)), np.float32)
    begun = iterations if certain is None else min(iterations, BEGUN)
    near, far = points.kernels
    iterate(unary, probs, begun, *near, *far, nothing, nothing)
    if certain is None or begun == iterations:
        return
    is_left = probs.max(axis=0) <= np.float32((1 + certain) / 2)
    left = np.flatnonzero(is_left)
    if 2 * len(left) > len(is_left):  # parting them costs more than it saves
        iterate(unary, probs, iterations - begun, *near, *far, nothing, nothing)
        return
    lattice, spatial = points.lattice, points.spatial
    settled = np.zeros((lattice.n_vertices + 1, len(unary)), np.float32)
    spatial_settled = np.zeros((spatial.n_vertices + 1, len(unary)), np.float32)
    settle(
        probs, is_left, points.ids, points.weights, lattice.corners, settled,
        points.spatial_ids, points.spatial_weights, spatial.corners, spatial_settled,
    )  # fmt: skip
    some, probs_left = points.some(left), probs.take(left, axis=1)
    near, far = some.kernels
    iterate(unary.take(left, axis=1), probs_left, iterations - begun, *near, *far, settled, spatial_settled)
    probs[:, left] = probs_left
