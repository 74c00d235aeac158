"""A subject over a background: `(image * alpha + background * (255 - alpha)) / 255`, rounded to the nearest level.

Its twin is `pipeline.effects.composite.Compositor`, which is correct to two levels; this one is exact.
"""

import torch
import triton.language as tl

from engines.kernels.launch import blocks, expect, kernel, lanes

__all__ = ["composite_into"]


def composite_into(
    image_bgr: torch.Tensor, alpha: torch.Tensor, background_bgr: torch.Tensor, out: torch.Tensor
) -> None:
    """Lay one picture over another.

    Args:
        image_bgr, background_bgr: (H, W, 3) uint8.
        alpha: (H, W) uint8, 255 where `image_bgr` is seen.
        out: (H, W, 3) uint8; may be one of the two pictures.

    Raises:
        InputSizeError: other shapes, types or devices.
    """
    expect("image_bgr", image_bgr, [torch.uint8], (None, None, 3))
    shape = tuple(image_bgr.shape)
    expect("background_bgr", background_bgr, [torch.uint8], shape)
    expect("alpha", alpha, [torch.uint8], shape[:2])
    expect("out", out, [torch.uint8], shape)
    size = image_bgr.numel()
    block = lanes(1024, size)
    composite_kernel[(blocks(size, block),)](image_bgr, alpha, background_bgr, out, size, BLOCK=block)


@kernel
def composite_kernel(
    image: tl.tensor, alpha: tl.tensor, background: tl.tensor, out: tl.tensor, size: int, BLOCK: tl.constexpr
) -> None:
    """One lane a byte of the output."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    is_inside = at < size
    share = tl.load(alpha + at // 3, is_inside, other=0).to(tl.int32)
    one = tl.load(image + at, is_inside, other=0).to(tl.int32)
    other = tl.load(background + at, is_inside, other=0).to(tl.int32)
    mixed = (one * share + other * (255 - share) + 127) // 255
    tl.store(out + at, mixed.to(tl.uint8), is_inside)
