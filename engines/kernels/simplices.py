"""Where each pixel lies in the permutohedral lattice: the keys of its simplex's corners, and its weight for each.

Its twins are `engines.crf.simplices` (compiled, for the CPU) and `engines.crf.explained.PlainLattice` (to be read).
Elevation, rounding, rank, barycentric weights and packing in one pass; coordinates lie along a second axis of the
block and corners along a third, so that five features and two are the same code. The trap: blocks have powers of two,
so there are coordinates and corners that do not exist; they rank behind all others and are not written.
"""

from dataclasses import dataclass

import torch
import triton.language as tl

from engines.kernels.keys import Fields, lifting
from engines.kernels.launch import blocks, device_of_kernels, expect, kernel, lanes, ready

__all__ = ["Embedding", "locate"]


@dataclass(frozen=True, eq=False)
class Embedding:
    """How pixels of one size are lifted and their lattice points named; the same for every frame, on the device."""

    size: tuple[int, int]
    """(h, w)."""
    matrix: torch.Tensor
    """(d, d + 1) float32, see `keys.lifting`."""
    packing: torch.Tensor
    """(2, d + 1 or more) int64: offsets and shifts of a key's fields."""
    steps: torch.Tensor
    """(d + 1,) int64: what a step along each axis adds to a key."""

    @classmethod
    def of(cls, sigmas: tuple[float, ...], size: tuple[int, int], name: str) -> "Embedding":
        """For the features (x, y) or (x, y, three colours), with a standard deviation each.

        Raises:
            EngineError: the keys would have more than 63 bits; `name` says whose widths are too small.
        """
        d, device = len(sigmas), device_of_kernels()
        matrix = lifting(sigmas)
        fields = Fields.of(matrix, (size[1] - 1, size[0] - 1, *(255.0,) * (d - 2)), name)
        packing = torch.zeros((2, ready(d + 1)), dtype=torch.int64)
        packing[0, :d] = torch.tensor(fields.offsets)
        packing[1, :d] = torch.tensor(fields.shifts)
        return cls(
            size,
            torch.tensor(matrix, dtype=torch.float32, device=device),
            packing.to(device),
            torch.tensor(fields.steps, device=device),
        )


def locate(image: torch.Tensor | None, embedding: Embedding) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the simplex of every pixel.

    Args:
        image: (h, w, 3) uint8 for five features; None for two.
        embedding: of as many, for this size.

    Returns:
        keys (n, d + 1) int64 and weights (n, d + 1) float32, which add up to 1; by the corner's remainder.

    Raises:
        InputSizeError: shapes, types or devices that do not fit.
    """
    height, width = embedding.size
    matrix, d = embedding.matrix, 2 if image is None else 5
    expect("matrix", matrix, [torch.float32], (d, d + 1))
    if image is not None:
        expect("image", image, [torch.uint8], (height, width, 3))
    n = height * width
    keys = torch.empty((n, d + 1), dtype=torch.int64, device=matrix.device)
    weights = torch.empty((n, d + 1), dtype=torch.float32, device=matrix.device)
    block = lanes(32, n)
    locate_kernel[(blocks(n, block),)](
        keys if image is None else image, matrix, embedding.packing, keys, weights, n, width,
        D=d, SIDE=ready(d + 1), BLOCK=block,
    )  # fmt: skip
    return keys, weights


@kernel
def locate_kernel(
    image: tl.tensor,
    matrix: tl.tensor,
    packing: tl.tensor,
    keys: tl.tensor,
    weights: tl.tensor,
    n: int,
    width: int,
    D: tl.constexpr,
    SIDE: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """A block has pixels, coordinates, corners."""
    p = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    is_inside = p < n
    axis = tl.arange(0, SIDE)
    is_axis = axis <= D
    x = (p % width).to(tl.float32)
    y = (p // width).to(tl.float32)
    lifted = x[:, None] * tl.load(matrix + axis, is_axis, other=0.0)[None, :]
    lifted += y[:, None] * tl.load(matrix + (D + 1) + axis, is_axis, other=0.0)[None, :]
    for c in tl.static_range(D - 2):
        colour = tl.load(image + p.to(tl.int64) * 3 + c, is_inside, other=0).to(tl.float32)
        lifted += colour[:, None] * tl.load(matrix + (c + 2) * (D + 1) + axis, is_axis, other=0.0)[None, :]

    # The nearest point of remainder 0, and by how much each coordinate was rounded.
    rounded = tl.floor(lifted + 0.5)
    residual = tl.where(is_axis[None, :], lifted - rounded, -9.0)
    # Rank: how many others have more left over; of equals the first has.
    mine = residual[:, :, None]
    others = residual[:, None, :]
    is_before = (axis[None, None, :] < axis[None, :, None]) & (others == mine)
    rank = tl.sum(((others > mine) | is_before).to(tl.int32), axis=2)
    # Rounding may leave the plane by some steps; the coordinates that were rounded furthest give them back.
    steps = rounded.to(tl.int32)
    rank += tl.sum(steps, axis=1)[:, None]
    wrap = tl.where(rank < 0, 1, tl.where(rank > D, -1, 0))
    steps += wrap
    residual -= wrap.to(tl.float32)
    rank = tl.where(is_axis[None, :], rank + wrap * (D + 1), -100)

    # Barycentric weights: differences of the residuals in falling order (Adams et al. 2010, proposition 4.2).
    corner = axis[None, None, :]
    rank_here = rank[:, :, None]
    sign = (rank_here == D - corner).to(tl.float32) - (rank_here == (D + 1 - corner) % (D + 1)).to(tl.float32)
    weight = tl.sum(residual[:, :, None] * sign, axis=1) + (axis == 0).to(tl.float32)[None, :]

    # The corner of remainder r: r steps up, or r - (d + 1) for the coordinates of the highest ranks.
    coordinate = (D + 1) * steps[:, :, None] + tl.where(rank_here <= D - corner, corner, corner - (D + 1))
    offset = tl.load(packing + axis)
    shift = tl.load(packing + SIDE + axis)
    is_packed = (axis < D)[None, :, None]
    field = (coordinate.to(tl.int64) + offset[None, :, None]) << shift[None, :, None]
    key = tl.sum(tl.where(is_packed, field, 0), axis=1)

    place = p.to(tl.int64)[:, None] * (D + 1) + axis[None, :]
    is_real = is_inside[:, None] & is_axis[None, :]
    tl.store(keys + place, key, is_real)
    tl.store(weights + place, weight, is_real)
