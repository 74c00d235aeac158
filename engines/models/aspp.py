"""Atrous spatial pyramid pooling of v3 and v3+: branches side by side, concatenated and projected.

The image-pooling branch averages over the whole feature map, black bars included: a model that will be
fed letterboxed frames must see bars in training.
"""

import torch
from torch import Tensor, nn

from engines.models.layers import PointwiseConv, atrous_conv, pooled

__all__ = ["ASPP"]


class ASPP(nn.Module):
    """One 1x1, one atrous branch a rate, and image pooling (Chen et al. 2017, fig. 5)."""

    def __init__(
        self, c_in: int, channels: int, rates: tuple[int, ...], is_separable: bool = True, drop_share: float = 0.0
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [PointwiseConv(c_in, channels), *(atrous_conv(c_in, channels, rate, is_separable) for rate in rates)]
        )
        self.image_pooling = PointwiseConv(c_in, channels)
        self.project = PointwiseConv(channels * (len(rates) + 2), channels)
        self.dropout = nn.Dropout(drop_share)

    def forward(self, high: Tensor) -> Tensor:
        """(n, c_in, h, w) -> (n, channels, h, w)."""
        image_level = self.image_pooling(pooled(high))
        parts = [branch(high) for branch in self.branches]
        parts.append(image_level.expand(-1, -1, high.shape[2], high.shape[3]))
        projected: Tensor = self.dropout(self.project(torch.cat(parts, dim=1)))
        return projected
