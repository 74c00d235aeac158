"""DeepLabv3+ (Chen et al. 2018, "Encoder-Decoder with Atrous Separable Convolution"): v3 with a decoder.

The trap: context at the output stride is coarse, edges are fine; both meet at stride 4, and only there are
classes decided.
"""

import torch
from torch import Tensor, nn

from engines.models.aspp import ASPP
from engines.models.base import DeepLab
from engines.models.config import ModelConfig
from engines.models.layers import PointwiseConv, atrous_conv, resized_to

__all__ = ["DeepLabV3Plus"]


class DeepLabV3Plus(DeepLab):
    """Figure 2 of the paper: backbone, ASPP, and a decoder that joins the low-level features."""

    def __init__(self, n_classes: int, config: ModelConfig) -> None:
        super().__init__(n_classes, config)
        context, low, is_separable = config.aspp_channels, config.low_channels, config.is_separable
        channels = config.decoder_channels or context
        self.aspp = ASPP(self.backbone.high_channels, context, config.rates, is_separable, config.drop_share)
        # At the output stride a 1x1 costs a sixteenth of what the wider depthwise convolution would at stride 4.
        self.narrow = nn.Identity() if channels == context else PointwiseConv(context, channels)
        self.reduce_low = PointwiseConv(self.backbone.low_channels, low)
        widths = (channels + low, channels)[: config.decoder_convs]
        self.decoder = nn.Sequential(*(atrous_conv(c_in, channels, 1, is_separable) for c_in in widths))
        self.classifier = nn.Conv2d(channels, n_classes, 1)

    def forward(self, image_rgb: Tensor) -> Tensor:
        """See `DeepLab`."""
        low, high = self.backbone(image_rgb)
        context = resized_to(self.narrow(self.aspp(high)), low)
        joined = torch.cat([context, self.reduce_low(low)], dim=1)
        logits: Tensor = self.classifier(self.decoder(joined))
        return logits

    def context_kernels(self) -> list[tuple[int, int]]:
        """See `DeepLab`; the decoder's own kernels, at stride 4, add little and are left out."""
        return [(3, max(self.config.rates, default=1))]
