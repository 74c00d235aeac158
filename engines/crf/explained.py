"""The dense CRF in plain numpy, to be read: what `exact` computes, without any of its haste.

Krähenbühl and Koltun 2011 (mean field of a fully connected CRF), with the filter of Adams, Baek and Davis 2010 (the
permutohedral lattice). Slow, in float64, any number of features; tests hold the compiled code against it, and it
against sums over all pairs of pixels.
"""

import numpy as np
from numpy.typing import NDArray

from engines.crf import CrfParams

__all__ = ["PlainLattice", "all_pairs", "mean_field"]

Real = NDArray[np.float64]


class PlainLattice:
    """The lattice of (n, d) features that have been divided by their standard deviations.

    The lattice lives in the plane of d + 1 coordinates that add up to zero; its points have coordinates that are all
    equal modulo d + 1, and that common remainder says which corner of a simplex a point is.
    """

    def __init__(self, features: Real) -> None:
        n, d = features.shape
        self.n_corners = d + 1
        # So that one blur of [1/2 1 1/2] along every axis is a Gaussian of standard deviation 1 (section 4.1).
        scaled = features * np.sqrt(2 / 3) * (d + 1) / np.sqrt(np.arange(1, d + 1) * np.arange(2, d + 2))
        # Lift into the plane: coordinate j gets everything from j on, and -j times the one before.
        after = np.cumsum(scaled[:, ::-1], axis=1)[:, ::-1]
        lifted = np.zeros((n, d + 1))
        lifted[:, :d] += after
        lifted[:, 1:] -= np.arange(1, d + 1) * scaled

        # The nearest point of remainder 0, by rounding; the order of what is left over says which simplex it is.
        rounded = np.floor(lifted / (d + 1) + 0.5)
        residual = lifted / (d + 1) - rounded
        order = np.argsort(-residual, axis=1, kind="stable")
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.arange(d + 1)[None, :], axis=1)
        # Rounding may leave the plane by some steps; the coordinates that were rounded furthest give them back.
        rank = rank + rounded.sum(axis=1, keepdims=True).astype(np.int64)
        wrap = np.where(rank < 0, 1, np.where(rank > d, -1, 0))
        rounded, residual, rank = rounded + wrap, residual - wrap, rank + wrap * (d + 1)

        # Barycentric weights: differences of the residuals in falling order (proposition 4.2).
        falling = -np.sort(-residual, axis=1)
        self.weights = np.empty((n, d + 1))
        self.weights[:, 0] = 1 + falling[:, d] - falling[:, 0]
        self.weights[:, 1:] = (falling[:, :-1] - falling[:, 1:])[:, ::-1]

        # The corner of remainder r: r steps up, or r - (d + 1) for the coordinates of the highest ranks.
        remainder = np.arange(d + 1)[None, :, None]
        corners = (d + 1) * rounded[:, None, :] + np.where(
            rank[:, None, :] <= d - remainder, remainder, remainder - d - 1
        )
        keys = corners.astype(np.int64).reshape(-1, d + 1)
        points, number = np.unique(keys, axis=0, return_inverse=True)
        self.corners = number.reshape(n, d + 1)
        self.n_points = len(points)

        # Neighbours along axis j: one step on every coordinate, d back on the j-th. Nobody: a last value, always 0.
        known = {tuple(point): at for at, point in enumerate(points.tolist())}
        steps = np.ones((d + 1, d + 1), np.int64) - (d + 1) * np.eye(d + 1, dtype=np.int64)
        self.neighbours = [
            tuple(
                np.array(
                    [known.get(tuple(moved), self.n_points) for moved in (points + sign * step).tolist()], np.int64
                )
                for sign in (-1, 1)
            )
            for step in steps
        ]

    def filtered(self, values: Real) -> Real:
        """(n, K) -> (n, K): splat, blur, slice."""
        on_lattice = np.zeros((self.n_points + 1, values.shape[1]))
        np.add.at(on_lattice, self.corners, self.weights[:, :, None] * values[:, None, :])
        for before, after in self.neighbours:
            blurred = on_lattice[:-1] + 0.5 * (on_lattice[before] + on_lattice[after])
            on_lattice[:-1] = blurred
        gain = 1 / (1 + 2.0 ** -(self.n_corners - 1))
        sliced: Real = (self.weights[:, :, None] * on_lattice[self.corners]).sum(axis=1) * gain
        return sliced


def all_pairs(features: Real, values: Real) -> Real:
    """What the lattice approximates: the Gaussian filter itself, a sum over all pairs of points, itself included."""
    distance2 = ((features[:, None, :] - features[None, :, :]) ** 2).sum(axis=2)
    summed: Real = np.exp(-distance2 / 2) @ values
    return summed


def mean_field(
    probs: NDArray[np.float32], image_bgr: NDArray[np.uint8], params: CrfParams, iterations: int
) -> NDArray[np.float32]:
    """(C, h, w) probabilities to refined ones; the unaries are -log of them, from 1e-5 up."""
    n_classes, height, width = probs.shape
    y, x = np.mgrid[:height, :width].reshape(2, -1)
    where = np.stack([x, y], axis=1).astype(np.float64)
    colours = image_bgr.reshape(-1, 3).astype(np.float64)
    kernels = [
        (params.w1, PlainLattice(np.hstack([where / params.sigma_alpha, colours / params.sigma_beta]))),
        (params.w2, PlainLattice(where / params.sigma_gamma)),
    ]
    unary = np.log(np.maximum(probs, 1e-5)).reshape(n_classes, -1).T.astype(np.float64)
    # Symmetric normalisation: n_p L(n_q Q_q), with n = 1 / sqrt(L(1)).
    norms = [1 / np.sqrt(lattice.filtered(np.ones((len(where), 1))) + 1e-20) for _, lattice in kernels]
    q = _softmax(unary)
    for _ in range(iterations):
        # Potts: a label is paid for by all unlike it, which after the softmax is the same as a gift to all like it.
        messages = [w * n * lattice.filtered(n * q) for (w, lattice), n in zip(kernels, norms, strict=True)]
        q = _softmax(unary + sum(messages))
    return np.ascontiguousarray(q.T.reshape(probs.shape), np.float32)


def _softmax(scores: Real) -> Real:
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: Real = e / e.sum(axis=1, keepdims=True)
    return shares
