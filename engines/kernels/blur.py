"""A Gaussian blur of a whole frame, along its columns and then along its rows.

Its twin is `cv2.GaussianBlur` with `BORDER_REFLECT_101` and a kernel of three standard deviations on each side, as
`pipeline.effects.gaussian` takes it for frames that it does not make smaller. Between the passes values are float16,
which loses a sixteenth of a level at most; OpenCV's own integers lose up to two levels.
"""

import math

import torch
import triton.language as tl

from engines.errors import InputSizeError
from engines.kernels.launch import blocks, expect, kernel, lanes

__all__ = ["Gaussian"]


class Gaussian:
    """A blur of one width; keeps its kernel on the device, and the picture between the passes."""

    def __init__(self, sigma_px: float, device: torch.device) -> None:
        if not sigma_px > 0:
            raise InputSizeError(f"sigma_px is {sigma_px:g}, expected a number above 0")
        self.reach = math.ceil(3 * sigma_px)
        at = torch.arange(-self.reach, self.reach + 1, dtype=torch.float64)
        weights = torch.exp(-((at / sigma_px) ** 2) / 2)
        self._weights = (weights / weights.sum()).float().to(device)
        self._between = torch.empty((0, 0, 3), dtype=torch.float16, device=device)

    def blur_into(self, image_bgr: torch.Tensor, out: torch.Tensor) -> None:
        """Write the blurred picture.

        Args:
            image_bgr: (H, W, 3) uint8.
            out: (H, W, 3) uint8; may be `image_bgr`.

        Raises:
            InputSizeError: other shapes, types or devices.
        """
        expect("image_bgr", image_bgr, [torch.uint8], (None, None, 3))
        expect("out", out, [torch.uint8], tuple(image_bgr.shape))
        if self._between.shape != image_bgr.shape:
            self._between = torch.empty_like(image_bgr, dtype=torch.float16)
        height, width, _ = image_bgr.shape
        size = image_bgr.numel()
        block = lanes(1024, size)
        grid = (blocks(size, block),)
        # A step along an axis is so many bytes; a line of it has so many pixels.
        blur_kernel[grid](
            image_bgr, self._between, self._weights, size, self.reach, height, 3 * width, IS_LAST=False, BLOCK=block
        )
        blur_kernel[grid](
            self._between, out, self._weights, size, self.reach, width, 3, IS_LAST=True, BLOCK=block
        )  # fmt: skip


@kernel
def blur_kernel(
    source: tl.tensor,
    out: tl.tensor,
    weights: tl.tensor,
    size: int,
    reach: int,
    length: int,
    step: int,
    IS_LAST: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """One lane a byte of the picture, along one axis."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    is_inside = at < size
    along = (at // step) % length
    line = at - along * step
    # Mirrored about the outermost pixels' centres, as often as it takes: with a period of 2 (length - 1).
    period = tl.maximum(2 * (length - 1), 1)
    total = tl.zeros([BLOCK], tl.float32)
    for k in range(2 * reach + 1):
        there = tl.abs(along + k - reach) % period
        there = tl.minimum(there, period - there)
        value = tl.load(source + line + there * step, is_inside, other=0).to(tl.float32)
        total += value * tl.load(weights + k)
    if IS_LAST:
        tl.store(out + at, (total + 0.5).to(tl.uint8), is_inside)
    else:
        tl.store(out + at, total.to(tl.float16), is_inside)
