"""DeepLabv3 (Chen et al. 2017, "Rethinking Atrous Convolution for Semantic Image Segmentation").

Two ways to see far: ASPP with batch norm and image-level features (figure 5), or more blocks in a row with
growing rates (figure 3). No CRF follows. The trap: classes are decided at the output stride and enlarged, so
thin things are lost; the decoder of v3+ is the answer to that.
"""

from torch import Tensor, nn

from engines.models.aspp import ASPP
from engines.models.base import DeepLab
from engines.models.config import ModelConfig
from engines.models.layers import quarter_logits

__all__ = ["CascadedV3", "DeepLabV3", "v3_of"]

N_EXTRA_BLOCKS = 3
"""Blocks 5, 6 and 7."""


class DeepLabV3(DeepLab):
    """Figure 5 of the paper: backbone, ASPP, classes."""

    def __init__(self, n_classes: int, config: ModelConfig) -> None:
        super().__init__(n_classes, config)
        self.aspp = ASPP(
            self.backbone.high_channels, config.aspp_channels, config.rates, config.is_separable, config.drop_share
        )
        self.classifier = nn.Conv2d(config.aspp_channels, n_classes, 1)

    def forward(self, image_rgb: Tensor) -> Tensor:
        """See `DeepLab`; logits are computed at the output stride and enlarged."""
        low, high = self.backbone(image_rgb)
        return quarter_logits(self.classifier(self.aspp(high)), low)

    def context_kernels(self) -> list[tuple[int, int]]:
        """See `DeepLab`."""
        return [(3, max(self.config.rates))]


class CascadedV3(DeepLab):
    """Figure 3 (b): blocks 5 to 7 are copies of block 4's shape, each at twice the rate of the one before."""

    def __init__(self, n_classes: int, config: ModelConfig) -> None:
        super().__init__(n_classes, config)
        channels = self.backbone.high_channels
        blocks = []
        for rates in _cascade_rates(config):
            block, channels = self.backbone.extra_block(channels, rates)
            blocks.append(block)
        self.cascade = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(config.drop_share)
        self.classifier = nn.Conv2d(channels, n_classes, 1)

    def forward(self, image_rgb: Tensor) -> Tensor:
        """See `DeepLab`; logits are computed at the output stride and enlarged."""
        low, high = self.backbone(image_rgb)
        return quarter_logits(self.classifier(self.dropout(self.cascade(high))), low)

    def context_kernels(self) -> list[tuple[int, int]]:
        """See `DeepLab`."""
        n_kernels = 2 if self.config.backbone == "resnet18" else 1
        return [(3, rate) for rates in _cascade_rates(self.config) for rate in rates for _ in range(n_kernels)]


def v3_of(n_classes: int, config: ModelConfig) -> DeepLab:
    """The variant that the config asks for."""
    return CascadedV3(n_classes, config) if config.is_cascaded else DeepLabV3(n_classes, config)


def _cascade_rates(config: ModelConfig) -> list[tuple[int, int, int]]:
    """Rates of the units of blocks 5 to 7: at output stride 16 block 4 has 2, so these have 4, 8 and 16."""
    block4 = 32 // config.output_stride
    first, second, third = config.multi_grid
    return [
        (first * rate, second * rate, third * rate)
        for rate in (block4 * 2 ** (index + 1) for index in range(N_EXTRA_BLOCKS))
    ]
