"""A camera's frame to the engine's tensor: resize, bars and colour order in one pass; and a single plane resized.

Its twin is `engines.geometry.resize_into` (cv2.INTER_LINEAR: half-pixel centres, no antialias). OpenCV's
integers lose up to 0.8 of a level, this rounds the exact value: they differ by one level at most.
"""

from typing import Literal

import torch
import triton.language as tl

from engines.errors import InputSizeError
from engines.geometry import Geometry
from engines.kernels.launch import blocks, expect, kernel, lanes

__all__ = ["resize_into", "resize_plane_into"]


def resize_into(
    image: torch.Tensor, geometry: Geometry, tensor_bgr: torch.Tensor, order: Literal["bgr", "rgb"] = "bgr"
) -> None:
    """Write a frame into the engine's input, bars black.

    Args:
        image: (H, W, 3) uint8, the frame.
        geometry: the rectangle that the frame fills, from `engines.geometry.fit`.
        tensor_bgr: (height, width, 3) uint8, all of it is written.
        order: of the frame's colours.

    Raises:
        InputSizeError: other shapes, types or devices, or a rectangle that does not lie inside the tensor.
    """
    expect("image", image, [torch.uint8], (None, None, 3))
    expect("tensor_bgr", tensor_bgr, [torch.uint8], (None, None, 3))
    height, width = tensor_bgr.shape[:2]
    left, top, right, bottom = geometry.x, geometry.y, geometry.x + geometry.width, geometry.y + geometry.height
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise InputSizeError(f"{geometry} does not lie inside a tensor of {width}x{height}; see engines.geometry.fit")
    _launch(image, tensor_bgr, geometry, 3, is_swapped=order == "rgb")


def resize_plane_into(plane: torch.Tensor, out: torch.Tensor) -> None:
    """Write a plane (H, W) uint8 at another size, (height, width) uint8, the whole of it.

    Raises:
        InputSizeError: other shapes, types or devices.
    """
    expect("plane", plane, [torch.uint8], (None, None))
    expect("out", out, [torch.uint8], (None, None))
    _launch(plane, out, Geometry(0, 0, out.shape[1], out.shape[0]), 1, is_swapped=False)


def _launch(image: torch.Tensor, out: torch.Tensor, geometry: Geometry, n_channels: int, *, is_swapped: bool) -> None:
    size = out.numel()
    block = lanes(1024, size)
    resize_kernel[(blocks(size, block),)](
        image, out, image.shape[0], image.shape[1], out.shape[1], size,
        geometry.x, geometry.y, geometry.width, geometry.height,
        image.shape[1] / geometry.width, image.shape[0] / geometry.height,
        CHANNELS=n_channels, SWAP=is_swapped, BLOCK=block,
    )  # fmt: skip


@kernel
def resize_kernel(
    image: tl.tensor,
    out: tl.tensor,
    image_height: int,
    image_width: int,
    out_width: int,
    out_size: int,
    left: int,
    top: int,
    inner_width: int,
    inner_height: int,
    step_x: float,
    step_y: float,
    CHANNELS: tl.constexpr,
    SWAP: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """One lane a byte of the output."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    channel = at % CHANNELS
    x = (at // CHANNELS) % out_width - left
    y = (at // CHANNELS) // out_width - top
    is_inside = (x >= 0) & (x < inner_width) & (y >= 0) & (y < inner_height) & (at < out_size)
    # Half-pixel centres; beyond the outermost ones the picture goes on with their values.
    from_x = tl.minimum(tl.maximum((x.to(tl.float32) + 0.5) * step_x - 0.5, 0.0), image_width - 1.0)
    from_y = tl.minimum(tl.maximum((y.to(tl.float32) + 0.5) * step_y - 0.5, 0.0), image_height - 1.0)
    x0 = from_x.to(tl.int32)
    y0 = from_y.to(tl.int32)
    x1 = tl.minimum(x0 + 1, image_width - 1)
    y1 = tl.minimum(y0 + 1, image_height - 1)
    share_x = from_x - x0.to(tl.float32)
    share_y = from_y - y0.to(tl.float32)
    if SWAP:
        channel_in = 2 - channel
    else:
        channel_in = channel
    above = y0 * image_width
    below = y1 * image_width
    v00 = tl.load(image + (above + x0) * CHANNELS + channel_in, is_inside, other=0).to(tl.float32)
    v01 = tl.load(image + (above + x1) * CHANNELS + channel_in, is_inside, other=0).to(tl.float32)
    v10 = tl.load(image + (below + x0) * CHANNELS + channel_in, is_inside, other=0).to(tl.float32)
    v11 = tl.load(image + (below + x1) * CHANNELS + channel_in, is_inside, other=0).to(tl.float32)
    upper = v00 + (v01 - v00) * share_x
    lower = v10 + (v11 - v10) * share_x
    level = upper + (lower - upper) * share_y + 0.5
    tl.store(out + at, tl.where(is_inside, level, 0.0).to(tl.uint8), at < out_size)
