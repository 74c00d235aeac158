"""From logits at stride 4 to the planes of a mask, in one pass: labels by argmax, alpha by the subject's softmax.

Its twin is `engines.export.graph.ServedGraph`: half-pixel bilinear enlargement by four; labels from enlarged logits,
alpha from the subject's enlarged margin, log(p / (1 - p)) at stride 4. No class is ever written at full size.
The trap: between two samples lie four output pixels, two of which belong to the cell before the first; cells
therefore begin two pixels outside the plane.
"""

import torch
import triton.language as tl

from engines.errors import InputSizeError
from engines.kernels.launch import blocks, expect, kernel, lanes
from engines.spec import LOGITS_STRIDE

__all__ = ["MOST_CLASSES", "planes_into"]

MOST_CLASSES = 256
"""A label is a byte."""


def planes_into(
    logits: torch.Tensor,
    *,
    labels: torch.Tensor | None = None,
    alpha: torch.Tensor | None = None,
    subject: int | None = None,
) -> None:
    """Write the planes that are given; others cost nothing.

    Args:
        logits: (N, C, h, w) float32, float16 or bfloat16, finite.
        labels: (N, 4h, 4w) uint8.
        alpha: (N, 4h, 4w) uint8, 255 where the subject is.
        subject: the class that `alpha` cuts out.

    Raises:
        InputSizeError: shapes, types or devices that do not fit, no class of that number, nothing to write.
    """
    expect("logits", logits, [torch.float32, torch.float16, torch.bfloat16], (None, None, None, None))
    n, n_classes, height, width = logits.shape
    full = (n, LOGITS_STRIDE * height, LOGITS_STRIDE * width)
    planes = [(name, plane) for name, plane in (("labels", labels), ("alpha", alpha)) if plane is not None]
    for name, plane in planes:
        expect(name, plane, [torch.uint8], full)
    if not planes:
        raise InputSizeError("neither labels nor alpha to write; give a plane for at least one of them")
    if not 2 <= n_classes <= MOST_CLASSES:
        raise InputSizeError(f"logits have {n_classes} classes, expected 2 to {MOST_CLASSES}")
    if alpha is not None and (subject is None or not 0 <= subject < n_classes):
        raise InputSizeError(f"subject {subject} for alpha, expected a class from 0 to {n_classes - 1}")
    block = lanes(128, full[2])
    any_plane = planes[0][1]
    planes_kernel[(height + 1, blocks(full[2], block), n)](
        logits, any_plane if labels is None else labels, any_plane if alpha is None else alpha,
        n_classes, height, width, subject or 0,
        HAS_LABELS=labels is not None, HAS_ALPHA=alpha is not None, BLOCK=block,
    )  # fmt: skip


@kernel
def planes_kernel(
    logits: tl.tensor,
    labels: tl.tensor,
    alpha: tl.tensor,
    n_classes: int,
    height: int,
    width: int,
    subject: int,
    HAS_LABELS: tl.constexpr,
    HAS_ALPHA: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """A program has the four output rows between two rows of samples; a lane, one column of them."""
    row = tl.program_id(0) - 1
    x = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    is_inside = x < 4 * width
    # The cell of a column, and how far into it: 1/8, 3/8, 5/8 or 7/8.
    cell = (x + 2) // 4 - 1
    share_x = ((x + 2) % 4).to(tl.float32) * 0.25 + 0.125
    x0 = tl.minimum(tl.maximum(cell, 0), width - 1)
    x1 = tl.minimum(cell + 1, width - 1)
    y0 = tl.maximum(row, 0)
    y1 = tl.minimum(row + 1, height - 1)
    down = tl.arange(0, 4)
    share_y = (down.to(tl.float32) * 0.25 + 0.125)[:, None]
    y = (4 * row + 2 + down)[:, None]
    is_shown = (y >= 0) & (y < 4 * height) & is_inside[None, :]
    area = height * width
    first = logits + tl.program_id(2).to(tl.int64) * n_classes * area
    p00 = first + y0 * width + x0
    p01 = first + y0 * width + x1
    p10 = first + y1 * width + x0
    p11 = first + y1 * width + x1
    place = tl.program_id(2).to(tl.int64) * 16 * area + y * (4 * width) + x[None, :]

    if HAS_LABELS:
        best = tl.full([4, BLOCK], float("-inf"), tl.float32)
        winner = tl.zeros([4, BLOCK], tl.int32)
        for c in range(n_classes):
            v00 = tl.load(p00 + c * area, is_inside, other=0.0).to(tl.float32)
            v01 = tl.load(p01 + c * area, is_inside, other=0.0).to(tl.float32)
            v10 = tl.load(p10 + c * area, is_inside, other=0.0).to(tl.float32)
            v11 = tl.load(p11 + c * area, is_inside, other=0.0).to(tl.float32)
            upper = v00 + (v01 - v00) * share_x
            lower = v10 + (v11 - v10) * share_x
            value = upper[None, :] + (lower - upper)[None, :] * share_y
            # Of equals the first wins, as in numpy and torch.
            is_better = value > best
            best = tl.where(is_better, value, best)
            winner = tl.where(is_better, c, winner)
        tl.store(labels + place, winner.to(tl.uint8), is_shown)

    if HAS_ALPHA:
        # log of the sum of exp over all other classes, at the four samples around each column.
        m00 = tl.full([BLOCK], float("-inf"), tl.float32)
        m01, m10, m11 = m00, m00, m00
        for c in range(n_classes):
            if c != subject:
                m00 = tl.maximum(m00, tl.load(p00 + c * area, is_inside, other=0.0).to(tl.float32))
                m01 = tl.maximum(m01, tl.load(p01 + c * area, is_inside, other=0.0).to(tl.float32))
                m10 = tl.maximum(m10, tl.load(p10 + c * area, is_inside, other=0.0).to(tl.float32))
                m11 = tl.maximum(m11, tl.load(p11 + c * area, is_inside, other=0.0).to(tl.float32))
        s00 = tl.zeros([BLOCK], tl.float32)
        s01, s10, s11 = s00, s00, s00
        for c in range(n_classes):
            if c != subject:
                s00 += tl.exp(tl.load(p00 + c * area, is_inside, other=0.0).to(tl.float32) - m00)
                s01 += tl.exp(tl.load(p01 + c * area, is_inside, other=0.0).to(tl.float32) - m01)
                s10 += tl.exp(tl.load(p10 + c * area, is_inside, other=0.0).to(tl.float32) - m10)
                s11 += tl.exp(tl.load(p11 + c * area, is_inside, other=0.0).to(tl.float32) - m11)
        mine = subject * area
        a00 = tl.load(p00 + mine, is_inside, other=0.0).to(tl.float32) - m00 - tl.log(s00)
        a01 = tl.load(p01 + mine, is_inside, other=0.0).to(tl.float32) - m01 - tl.log(s01)
        a10 = tl.load(p10 + mine, is_inside, other=0.0).to(tl.float32) - m10 - tl.log(s10)
        a11 = tl.load(p11 + mine, is_inside, other=0.0).to(tl.float32) - m11 - tl.log(s11)
        upper = a00 + (a01 - a00) * share_x
        lower = a10 + (a11 - a10) * share_x
        margin = upper[None, :] + (lower - upper)[None, :] * share_y
        # Below -80 the subject's share is 0 anyway, and exp stays finite.
        level = 255.0 / (1.0 + tl.exp(-tl.maximum(margin, -80.0))) + 0.5
        tl.store(alpha + place, level.to(tl.uint8), is_shown)
