"""Weighted blurs of whole frames by way of small pictures, on a device: the twin of `pipeline/effects/gaussian.py`.

There a picture is halved, weighted, halved again and blurred with a kernel. All that comes after the weights is linear
and separable, so here it is one matrix along each axis, made once: two small products instead of a chain of kernels.
The trap: the host rounds to levels after each early halving; so does this, or weights would be looked up elsewhere.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from engines.geometry import Geometry
from engines.kernels.preprocess import resize_into, resize_plane_into

__all__ = ["BlurPlan", "SmallBlur", "enlarged", "halved_levels"]

Size = tuple[int, int]


@dataclass(frozen=True)
class BlurPlan:
    """How one blur is made smaller; what the host's painter has worked out."""

    early: tuple[Size, ...]
    """(height, width) of each halving before the weights."""
    late: tuple[Size, ...]
    """Of each halving after them."""
    sigma_small_px: float
    """Left for the smallest picture."""
    has_soft_border: bool
    """Mirrored about the outer edges of the outermost pixels, as a picture is that was made smaller; else about their
    centres."""


class SmallBlur:
    """One blur of one frame size."""

    def __init__(self, height: int, width: int, plan: BlurPlan, device: torch.device) -> None:
        first = (plan.early or ((height, width),))[-1]
        sizes = [first, *plan.late]
        down = [np.eye(side) for side in first]
        for before, after in itertools.pairwise(sizes):
            for axis in (0, 1):
                down[axis] = _halving(before[axis], after[axis]) @ down[axis]
        blur = [_gaussian(side, plan.sigma_small_px, has_soft_border=plan.has_soft_border) for side in sizes[-1]]
        # One matrix an axis, for the rows from the left, for the columns from the right.
        self._rows = _on(blur[0] @ down[0], device)
        self._columns = _on((blur[1] @ down[1]).T, device)
        self._down_rows, self._down_columns = _on(down[0], device), _on(down[1].T, device)

    def __call__(self, colours: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """(3, h, w) colours and (h, w) weights of the early size, float32; (3, hs, ws), the blur of what has weight."""
        weighted = torch.cat((colours * weight, weight[None]))
        small = self._rows @ weighted @ self._columns
        return small[:3] / small[3:]

    def only_halved(self, plane: torch.Tensor) -> torch.Tensor:
        """(h, w) made as small as the blurs are, not blurred."""
        return self._down_rows @ plane @ self._down_columns


def halved_levels(image_bgr: torch.Tensor, alpha: torch.Tensor, sizes: Sequence[Size]) -> torch.Tensor:
    """(H, W, 3) and (H, W) uint8, halved again and again, rounded to levels: (4, h, w) float32."""
    for height, width in sizes:
        half_bgr, half_alpha = image_bgr.new_empty((height, width, 3)), alpha.new_empty((height, width))
        resize_into(image_bgr, Geometry(0, 0, width, height), half_bgr)
        resize_plane_into(alpha, half_alpha)
        image_bgr, alpha = half_bgr, half_alpha
    return torch.cat((image_bgr.permute(2, 0, 1), alpha[None])).float()


def enlarged(small: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(3, h, w) colours, rounded to levels as the host keeps them, as uint8 (height, width, 3)."""
    levels = (small + 0.5).to(torch.uint8).permute(1, 2, 0).contiguous()
    large = levels.new_empty((height, width, 3))
    resize_into(levels, Geometry(0, 0, width, height), large)
    return large


def _halving(before: int, after: int) -> NDArray[np.float64]:
    """(after, before): what `cv2.resize(..., INTER_LINEAR)` does along an axis."""
    matrix = np.zeros((after, before))
    for row in range(after):
        at = min(max((row + 0.5) * before / after - 0.5, 0.0), before - 1.0)
        first = min(int(at), before - 1)
        share = at - first
        matrix[row, first] += 1 - share
        matrix[row, min(first + 1, before - 1)] += share
    return matrix


def _gaussian(side: int, sigma_px: float, *, has_soft_border: bool) -> NDArray[np.float64]:
    """(side, side): what `cv2.GaussianBlur` does along an axis, three standard deviations on each side."""
    reach = math.ceil(3 * sigma_px)
    weights = np.exp(-((np.arange(-reach, reach + 1) / sigma_px) ** 2) / 2)
    weights /= weights.sum()
    places = np.pad(np.arange(side), reach, mode="symmetric" if has_soft_border else "reflect")
    matrix = np.zeros((side, side))
    for row in range(side):
        np.add.at(matrix[row], places[row : row + len(weights)], weights)
    return matrix


def _on(matrix: NDArray[np.float64], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(matrix, np.float32)).to(device)
