"""Sums over rows of entries: pixels gathered onto lattice points, without atomics, the same bits on every run.

Its twin is `np.add.at` in `engines.crf.explained.PlainLattice.filtered`. A lattice point's entries lie behind each
other (`engines.kernels.table`), so a program owns its points and adds their pixels in a fixed order; a point with many
is added up piece by piece, the pieces in a second launch.
"""

import torch
import triton.language as tl

from engines.kernels.launch import blocks, expect, kernel, ready
from engines.kernels.lines import entries_a_step, rows_a_program
from engines.kernels.table import PIECE

__all__ = ["splat", "sum_rows"]


def splat(
    values: torch.Tensor,
    points: torch.Tensor,
    weights: torch.Tensor,
    bounds: torch.Tensor,
    ends: torch.Tensor,
    partial: torch.Tensor,
    out: torch.Tensor,
) -> None:
    """Write to each lattice point the weighted sum of its pixels' values.

    Args:
        values: (n, K) float32.
        points, weights: (entries,) int32, float32: which pixel, and how much of it.
        bounds, ends: of `table.pieces`.
        partial: (pieces, K) float32, to work in.
        out: (V, K) float32.

    Raises:
        InputSizeError: shapes, types or devices that do not fit.
    """
    n_values = values.shape[1]
    expect("values", values, [torch.float32], (None, None))
    expect("points", points, [torch.int32], (None,))
    expect("weights", weights, [torch.float32], tuple(points.shape))
    expect("bounds", bounds, [torch.int64], (None, 2))
    expect("partial", partial, [torch.float32], (bounds.shape[0], n_values))
    expect("out", out, [torch.float32], (ends.shape[0], n_values))
    expect("ends", ends, [torch.int64], (None, 2))
    sum_rows(values, bounds, partial, points, weights)
    sum_rows(partial, ends, out)


def sum_rows(
    values: torch.Tensor,
    bounds: torch.Tensor,
    out: torch.Tensor,
    points: torch.Tensor | None = None,
    weights: torch.Tensor | None = None,
) -> None:
    """Sum values from one bound to the other: of the pixels that entries name, or of the values themselves."""
    n_rows, n_values = out.shape
    columns = ready(n_values)
    step = entries_a_step(columns, PIECE)
    rows = rows_a_program(columns * step, n_rows)
    unused = bounds
    sum_kernel[(blocks(n_rows, rows),)](
        values, unused if points is None else points, unused if weights is None else weights, bounds, out,
        n_rows, n_values, IS_NAMED=points is not None, ROWS=rows, STEP=step, COLUMNS=columns,
    )  # fmt: skip


@kernel
def sum_kernel(
    values: tl.tensor,
    points: tl.tensor,
    weights: tl.tensor,
    bounds: tl.tensor,
    out: tl.tensor,
    n_rows: int,
    n_values: int,
    IS_NAMED: tl.constexpr,
    ROWS: tl.constexpr,
    STEP: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    """A block has rows, entries of each, and the values of an entry."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    is_row = row < n_rows
    begin = tl.load(bounds + 2 * row.to(tl.int64), is_row, other=0)
    end = tl.load(bounds + 2 * row.to(tl.int64) + 1, is_row, other=0)
    column = tl.arange(0, COLUMNS)
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    longest = tl.max(end - begin, axis=0).to(tl.int32)
    for done in range(0, longest, STEP):
        entry = begin[:, None] + done + tl.arange(0, STEP)[None, :]
        is_entry = entry < end[:, None]
        if IS_NAMED:
            place = tl.load(points + entry, is_entry, other=0).to(tl.int64)
        else:
            place = entry
        found = tl.load(
            values + place[:, :, None] * n_values + column[None, None, :],
            is_entry[:, :, None] & (column < n_values)[None, None, :],
            other=0.0,
        )
        if IS_NAMED:
            found *= tl.load(weights + entry, is_entry, other=0.0)[:, :, None]
        total += tl.sum(found, axis=1)
    tl.store(
        out + row.to(tl.int64)[:, None] * n_values + column[None, :],
        total,
        is_row[:, None] & (column < n_values)[None, :],
    )
