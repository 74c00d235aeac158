"""DeepLabv2 (Chen et al. 2017, TPAMI, "DeepLab: ... Atrous Convolution, and Fully Connected CRFs"): ASPP.

Parallel branches at several rates, each down to class scores, are *added*; from v3 on they are concatenated. The
dense CRF after it is `engines.crf`. The trap: seen at several scales (`input_scales`), the network costs the sum
of the scales' areas, 1.8 times at 0.5, 0.75 and 1.
"""

from collections.abc import Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engines.models.base import DeepLab
from engines.models.config import ModelConfig
from engines.models.layers import fully_connected, quarter_logits

__all__ = ["DeepLabV2"]


class DeepLabV2(DeepLab):
    """Figure 4 of the paper: backbone, and ASPP whose branches end in classes and are added."""

    classifiers = ("branches",)

    def __init__(self, n_classes: int, config: ModelConfig) -> None:
        super().__init__(n_classes, config)
        c_in = self.backbone.high_channels
        if config.backbone == "vgg16":
            # Section 4.1.1: fc6, fc7 and fc8 for every rate.
            branches = [_deep_branch(c_in, n_classes, rate, config) for rate in config.rates]
        else:
            # Section 4.1.2: ResNet-101 has no fully connected layers to convert; one 3x3 to the classes for every rate.
            branches = [nn.Sequential(_classes(c_in, n_classes, 3, rate)) for rate in config.rates]
        self.branches = nn.ModuleList(branches)

    def forward(self, image_rgb: Tensor) -> Tensor:
        """See `DeepLab`: the largest score over the input scales."""
        return _largest(self.pyramid(image_rgb))

    def supervised(self, image_rgb: Tensor) -> list[Tensor]:
        """The fused logits, then those of every scale: each has its own loss (section 4.1.2)."""
        pyramid = self.pyramid(image_rgb)
        return pyramid if len(pyramid) == 1 else [_largest(pyramid), *pyramid]

    def pyramid(self, image_rgb: Tensor) -> list[Tensor]:
        """Logits of the image at each of the input scales, all at a quarter of the full size."""
        full = self.at_one_scale(image_rgb)
        size = image_rgb.shape[2:]
        others = [
            _scaled(self.at_one_scale(_scaled(image_rgb, (round(size[0] * s), round(size[1] * s)))), full.shape[2:])
            for s in self.config.input_scales
            if s != 1
        ]
        return [full, *others]

    def at_one_scale(self, image_rgb: Tensor) -> Tensor:
        """Logits at a quarter of the size of this image; the sum of the branches."""
        low, high = self.backbone(image_rgb)
        scores = [branch(high) for branch in self.branches]
        return quarter_logits(reduce(torch.add, scores), low)

    def context_kernels(self) -> list[tuple[int, int]]:
        """See `DeepLab`."""
        return [(3, max(self.config.rates))]


def _deep_branch(c_in: int, n_classes: int, rate: int, config: ModelConfig) -> nn.Sequential:
    channels, drop_share = config.aspp_channels, config.drop_share
    return nn.Sequential(
        fully_connected(c_in, channels, 3, rate, drop_share),
        fully_connected(channels, channels, 1, 1, drop_share),
        _classes(channels, n_classes, 1, 1),
    )


def _classes(c_in: int, n_classes: int, kernel: int, rate: int) -> nn.Conv2d:
    layer = nn.Conv2d(c_in, n_classes, kernel, padding=kernel // 2 * rate, dilation=rate)
    nn.init.normal_(layer.weight, std=0.01)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def _largest(pyramid: list[Tensor]) -> Tensor:
    return reduce(torch.maximum, pyramid)


def _scaled(planes: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(planes, size=tuple(size), mode="bilinear", align_corners=False)
