"""The end of a step of mean field in one pass: slice from the lattice, add the unaries, softmax.

Its twin is the last two lines of the loop in `engines.crf.explained.mean_field`. The normalisation and the kernels'
weights lie in the slicing weights, so nothing is left to multiply. Without corners it is the softmax of the unaries,
which is what mean field starts from.
"""

import torch
import triton.language as tl

from engines.kernels.launch import blocks, expect, kernel, ready
from engines.kernels.lines import rows_a_program

__all__ = ["SMALLEST_PROB", "slice_rows", "step_into"]

SMALLEST_PROB = 1e-5
"""Probabilities below are raised to this before the logarithm, as in `engines.crf.exact`."""
_SMALLEST = tl.constexpr(SMALLEST_PROB)


def slice_rows(values: torch.Tensor, corners: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(V, 1) on the lattice -> (n,) at the pixels.

    Raises:
        InputSizeError: shapes, types or devices that do not fit.
    """
    expect("values", values, [torch.float32], (None, 1))
    out = torch.empty(corners.shape[0], dtype=torch.float32, device=values.device)
    _launch(out, values, corners, weights, out, 1, (1, 1), is_softmax=False)
    return out


def step_into(
    probs: torch.Tensor,
    values: torch.Tensor | None,
    corners: torch.Tensor,
    weights: torch.Tensor,
    out: torch.Tensor,
    *,
    by_class: bool,
) -> None:
    """Write the next Q.

    Args:
        probs: (C, n) float32, what the engine said.
        values: (V, L) float32, blurred, L >= C; None for the first Q, of the unaries alone.
        corners, weights: (n, corners) int32, float32.
        out: (n, L) float32, of which C numbers a row are written; (C, n) with `by_class`, as for the last step.
        by_class: the layout of `out`. Its shape does not say it: with two pixels, two classes and L of 2 both are one.

    Raises:
        InputSizeError: shapes, types or devices that do not fit.
    """
    n_classes, n = probs.shape
    expect("probs", probs, [torch.float32], (None, None))
    expect("out", out, [torch.float32], (n_classes, n) if by_class else (n, None))
    if values is not None:
        expect("values", values, [torch.float32], (None, None))
    strides = (1, n) if by_class else (out.shape[1], 1)
    _launch(probs, values, corners, weights, out, n_classes, strides, is_softmax=True)


def _launch(
    probs: torch.Tensor,
    values: torch.Tensor | None,
    corners: torch.Tensor,
    weights: torch.Tensor,
    out: torch.Tensor,
    n_classes: int,
    strides: tuple[int, int],
    is_softmax: bool,
) -> None:
    n, n_corners = corners.shape
    expect("corners", corners, [torch.int32], (None, None))
    expect("weights", weights, [torch.float32], (n, n_corners))
    columns = ready(n_classes)
    rows = rows_a_program(columns, n)
    step_kernel[(blocks(n, rows),)](
        probs, probs if values is None else values, corners, weights, out,
        n, n_classes, 0 if values is None else values.shape[1], *strides,
        IS_SOFTMAX=is_softmax, N_CORNERS=0 if values is None else n_corners, ROWS=rows, COLUMNS=columns,
    )  # fmt: skip


@kernel
def step_kernel(
    probs: tl.tensor,
    values: tl.tensor,
    corners: tl.tensor,
    weights: tl.tensor,
    out: tl.tensor,
    n: int,
    n_classes: int,
    line: int,
    pixel_stride: int,
    class_stride: int,
    IS_SOFTMAX: tl.constexpr,
    N_CORNERS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    """A block has pixels, and the classes of each."""
    p = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    is_pixel = p < n
    column = tl.arange(0, COLUMNS)[None, :]
    is_class = is_pixel[:, None] & (column < n_classes)
    score = tl.zeros([ROWS, COLUMNS], tl.float32)
    for k in tl.static_range(N_CORNERS):
        vertex = tl.load(corners + p * N_CORNERS + k, is_pixel, other=0).to(tl.int64)
        weight = tl.load(weights + p * N_CORNERS + k, is_pixel, other=0.0)
        score += weight[:, None] * tl.load(values + vertex[:, None] * line + column, is_class, other=0.0)
    if IS_SOFTMAX:
        unary = tl.load(probs + column.to(tl.int64) * n + p[:, None], is_class, other=1.0)
        score += tl.log(tl.maximum(unary, _SMALLEST))
        score = tl.where(column < n_classes, score, float("-inf"))
        score = tl.exp(score - tl.max(score, axis=1)[:, None])
        score = score / tl.sum(score, axis=1)[:, None]
    tl.store(out + p[:, None] * pixel_stride + column.to(tl.int64) * class_stride, score, is_class)
