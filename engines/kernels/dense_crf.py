"""The dense CRF as its authors' code computes it, on a GPU: the method `cuda`.

`engines.crf.explained` is the algorithm; `engines.kernels` holds its steps. Both lattices are filtered as one: the
smoothness lattice's points come first and have no neighbours along the axes that only the other has, so a step of
mean field is one splat, six blurs and one slice for both. The trap: how many lattice points there are is known
only after the sort, and the host must hear of it, so a frame's launches cannot be captured as one CUDA graph.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from engines.crf import CrfParams
from engines.errors import BackendUnavailable
from engines.kernels import unavailable_reason
from engines.kernels.lattice_blur import blur_axes
from engines.kernels.launch import device_of_kernels
from engines.kernels.lines import line_length
from engines.kernels.mean_field import slice_rows, step_into
from engines.kernels.simplices import Embedding, locate
from engines.kernels.splat import splat
from engines.kernels.table import Table, pieces

__all__ = ["CudaCrf"]

TINY = 1e-20
"""Added before the root, as pydensecrf does."""


class CudaCrf:
    """Mean field on the current GPU; keeps the smoothness lattice of the last size.

    Raises:
        BackendUnavailable: torch, triton or a GPU is missing.
    """

    def __init__(self, params: CrfParams) -> None:
        if (reason := unavailable_reason()) is not None:
            raise BackendUnavailable(f"the CRF on a GPU: {reason}")
        self.params = params
        self.device = device_of_kernels()
        self._spatial: _Lattice | None = None
        self._bilateral: Embedding | None = None

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
        refined = self.mean_field_on_device(
            torch.tensor(probs, device=self.device), torch.tensor(image_bgr, device=self.device), iterations,
            None if start is None else torch.tensor(start, device=self.device),
        )  # fmt: skip
        return np.asarray(refined.cpu().numpy(), np.float32)

    def mean_field_on_device(
        self, probs: torch.Tensor, image_bgr: torch.Tensor, iterations: int, start: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The same for tensors that lie on the device already; nothing but lengths comes back to the host.

        Args:
            probs: (C, h, w) float32, contiguous.
            image_bgr: (h, w, 3) uint8, contiguous.
            start: (C, h, w) float32, contiguous; None: `probs`.

        Raises:
            EngineError: the widths are too small for the image's size.
            InputSizeError: shapes, types or devices that do not fit.
        """
        if iterations == 0:
            return probs.clone()
        n_classes, height, width = probs.shape
        flat = probs.reshape(n_classes, -1)
        lattice = self._joined(image_bgr, (height, width))
        line = line_length(n_classes)
        q = torch.zeros((height * width, line), device=self.device)
        first = flat if start is None else start.reshape(n_classes, -1)
        step_into(first, None, lattice.corners, lattice.weights, q, by_class=False)
        values, spare = (torch.empty((lattice.near.shape[2], line), device=self.device) for _ in range(2))
        partial = torch.empty((lattice.bounds.shape[0], line), device=self.device)
        refined = torch.empty_like(flat)
        for step in range(iterations):
            splat(q, lattice.points, lattice.shares, lattice.bounds, lattice.ends, partial, values)
            blurred = blur_axes(values, spare, lattice.near)
            is_last = step == iterations - 1
            out = refined if is_last else q
            step_into(flat, blurred, lattice.corners, lattice.weights, out, by_class=is_last)
        return refined.reshape(probs.shape)

    def _joined(self, image_bgr: torch.Tensor, size: tuple[int, int]) -> "_Joined":
        params = self.params
        if self._spatial is None or self._bilateral is None or self._bilateral.size != size:
            name = f"sigma_alpha {params.sigma_alpha:g} and sigma_beta {params.sigma_beta:g}"
            sigmas = (*(params.sigma_alpha,) * 2, *(params.sigma_beta,) * 3)
            self._bilateral = Embedding.of(sigmas, size, name)
            position = Embedding.of((params.sigma_gamma,) * 2, size, f"sigma_gamma {params.sigma_gamma:g}")
            self._spatial = _Lattice(None, position)
        return _Joined.of(self._spatial, params.w2, _Lattice(image_bgr, self._bilateral), params.w1)


class _Lattice:
    """One lattice, its weights normalised: splat and slice both use them, so what comes out is n_p L(n_q v_q)."""

    def __init__(self, image_bgr: torch.Tensor | None, embedding: Embedding) -> None:
        self.table = table = Table.of(*locate(image_bgr, embedding), embedding.steps)
        n, n_corners = table.corners.shape
        self.gain = 1 / (1 + 2.0 ** (1 - n_corners))
        self.bounds, ends = pieces(table.starts)
        self.points = (table.order // n_corners).to(torch.int32)
        raw = table.weights.flatten()[table.order]
        ones = torch.ones((n, 1), device=table.weights.device)
        density, spare = (torch.empty((table.n_vertices, 1), device=ones.device) for _ in range(2))
        partial = torch.empty((self.bounds.shape[0], 1), device=ones.device)
        splat(ones, self.points, raw, self.bounds, ends, partial, density)
        blurred = blur_axes(density, spare, table.near)
        norm = torch.rsqrt(slice_rows(blurred, table.corners, table.weights) * self.gain + TINY)
        self.weights = table.weights * norm[:, None]
        self.shares = raw * norm[self.points]


@dataclass(frozen=True, eq=False)
class _Joined:
    """Both lattices as one."""

    corners: torch.Tensor
    """(n, 9) int32."""
    weights: torch.Tensor
    """(n, 9) float32, of slicing: with the kernels' weights in them."""
    points: torch.Tensor
    """(9 n,) int32: the pixel of each entry."""
    shares: torch.Tensor
    """(9 n,) float32: of splatting."""
    bounds: torch.Tensor
    """(pieces, 2) int64."""
    ends: torch.Tensor
    """(V, 2) int64."""
    near: torch.Tensor
    """(6, 2, V) int32."""

    @classmethod
    def of(cls, spatial: _Lattice, w2: float, bilateral: _Lattice, w1: float) -> "_Joined":
        first, second = spatial.table, bilateral.table
        n_first, n_all = first.n_vertices, first.n_vertices + second.n_vertices
        near = torch.full((second.near.shape[0], 2, n_all), n_all, dtype=torch.int32, device=second.near.device)
        near[: first.near.shape[0], :, :n_first] = torch.where(first.near == n_first, n_all, first.near)
        near[:, :, n_first:] = second.near + n_first  # nobody was its length, and is the length of all
        bounds, ends = pieces(torch.cat([first.starts[:-1], second.starts + len(spatial.points)]))
        return cls(
            torch.cat([first.corners, second.corners + n_first], dim=1),
            torch.cat([spatial.weights * (w2 * spatial.gain), bilateral.weights * (w1 * bilateral.gain)], dim=1),
            torch.cat([spatial.points, bilateral.points]),
            torch.cat([spatial.shares, bilateral.shares]),
            bounds,
            ends,
            near,
        )
