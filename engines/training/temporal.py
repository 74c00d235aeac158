"""The same answer for the same thing in consecutive frames.

Two frames of an unlabelled clip, cut and coloured alike, and the optical flow from the first to the second. The
second's probabilities are looked up along the flow and must equal the first's. The trap: where something is
uncovered the flow is a guess; only pixels whose picture agrees after the same look-up are counted.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from engines.data.consecutive import FrameBatch

__all__ = ["inconsistency", "looked_up"]


def inconsistency(first: Tensor, second: Tensor, frames: FrameBatch, max_difference: float) -> Tensor:
    """Mean squared difference of warped probabilities over trusted pixels (Lai et al. 2018, eq. 3, on probabilities).

    Args:
        first, second: (n, C, h, w) logits of the two frames.
        max_difference: of the pictures (of 1, mean over channels) beyond which the flow is not trusted.

    Returns:
        A scalar, 0 when no pixel is trusted.
    """
    size = first.shape[-2:]
    flow = frames.flow_px.movedim(-1, 1)
    flow = F.interpolate(flow, size=size, mode="bilinear", align_corners=False)
    scale = flow.new_tensor([size[1] / frames.flow_px.shape[2], size[0] / frames.flow_px.shape[1]])
    flow = flow * scale[None, :, None, None]
    pictures = [
        F.interpolate(image.movedim(-1, 1).float() / 255, size=size, mode="area")
        for image in (frames.first_bgr, frames.second_bgr)
    ]
    moved, is_inside = looked_up(pictures[1], flow)
    trusted = ((pictures[0] - moved).abs().mean(dim=1) < max_difference) & is_inside
    probs, is_inside = looked_up(second.float().softmax(dim=1), flow)
    difference = (first.float().softmax(dim=1) - probs).square().mean(dim=1)
    weight = trusted.float()
    return (difference * weight).sum() / weight.sum().clamp(min=1)


def looked_up(planes: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Bilinear look-up of (n, C, h, w) at each pixel plus its flow (n, 2, h, w), x before y, in pixels.

    Returns:
        The planes, and (n, h, w) bool where the look-up stayed inside.
    """
    height, width = planes.shape[-2:]
    ys, xs = torch.meshgrid(
        torch.arange(height, device=planes.device), torch.arange(width, device=planes.device), indexing="ij"
    )
    x, y = xs + flow[:, 0], ys + flow[:, 1]
    is_inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    return F.grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=False), is_inside
