"""[1/2 1 1/2] along one axis of the permutohedral lattice.

Its twin is the loop in `engines.crf.explained.PlainLattice.filtered`.
"""

import torch
import triton.language as tl

from engines.kernels.launch import blocks, expect, kernel, ready
from engines.kernels.lines import rows_a_program

__all__ = ["blur_axes"]


def blur_axes(values: torch.Tensor, spare: torch.Tensor, near: torch.Tensor) -> torch.Tensor:
    """Blur along every axis in turn.

    Args:
        values, spare: (V, K) float32; both are used up.
        near: (axes, 2, V) int32: neighbours; V where there is none, which counts as 0.

    Returns:
        One of the two.

    Raises:
        InputSizeError: shapes, types or devices that do not fit.
    """
    n_vertices, n_values = values.shape
    expect("values", values, [torch.float32], (None, None))
    expect("spare", spare, [torch.float32], tuple(values.shape))
    expect("near", near, [torch.int32], (None, 2, n_vertices))
    columns = ready(n_values)
    rows = rows_a_program(columns, n_vertices)
    for axis in range(near.shape[0]):
        axis_kernel[(blocks(n_vertices, rows),)](
            values, spare, near, axis, n_vertices, n_values, ROWS=rows, COLUMNS=columns
        )
        values, spare = spare, values
    return values


@kernel
def axis_kernel(
    values: tl.tensor,
    out: tl.tensor,
    near: tl.tensor,
    axis: int,
    n_vertices: int,
    n_values: int,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    """A block has lattice points, and the values of each."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)[None, :]
    is_row = row < n_vertices
    neighbours = near + axis * 2 * n_vertices + row
    before = tl.load(neighbours, is_row, other=n_vertices)[:, None]
    after = tl.load(neighbours + n_vertices, is_row, other=n_vertices)[:, None]
    is_value = column < n_values
    place = row.to(tl.int64)[:, None] * n_values + column
    here = tl.load(values + place, is_row[:, None] & is_value, other=0.0)
    one = tl.load(values + before.to(tl.int64) * n_values + column, (before < n_vertices) & is_value, other=0.0)
    other = tl.load(values + after.to(tl.int64) * n_values + column, (after < n_vertices) & is_value, other=0.0)
    tl.store(out + place, here + 0.5 * (one + other), is_row[:, None] & is_value)
