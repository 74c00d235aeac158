"""Atrous spatial pyramid pooling with separable convolutions.

The image-pooling branch averages over the whole feature map, black bars included: a model that will be
fed letterboxed frames must see bars in training.
"""

import torch
from torch import Tensor, nn

__all__ = ["ASPP", "PointwiseConv", "SeparableConv"]


class PointwiseConv(nn.Sequential):
    """1x1 convolution, batch norm, ReLU."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True))


class SeparableConv(nn.Sequential):
    """3x3 depthwise at an atrous rate, then 1x1; each with batch norm and ReLU (Chen et al. 2018, fig. 3)."""

    def __init__(self, c_in: int, c_out: int, rate: int = 1) -> None:
        super().__init__(
            nn.Conv2d(c_in, c_in, 3, padding=rate, dilation=rate, groups=c_in, bias=False),
            nn.BatchNorm2d(c_in),
            nn.ReLU(inplace=True),
            *PointwiseConv(c_in, c_out),
        )


class ASPP(nn.Module):
    """One 1x1, one atrous branch a rate, and image pooling, concatenated and projected."""

    def __init__(self, c_in: int, channels: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [PointwiseConv(c_in, channels), *(SeparableConv(c_in, channels, rate) for rate in rates)]
        )
        self.image_pooling = PointwiseConv(c_in, channels)
        self.project = PointwiseConv(channels * (len(rates) + 2), channels)

    def forward(self, high: Tensor) -> Tensor:
        """(n, c_in, h, w) -> (n, channels, h, w)."""
        pooled = self.image_pooling(high.mean(dim=(2, 3), keepdim=True))
        parts = [branch(high) for branch in self.branches]
        parts.append(pooled.expand(-1, -1, high.shape[2], high.shape[3]))
        projected: Tensor = self.project(torch.cat(parts, dim=1))
        return projected
