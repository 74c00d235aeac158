"""DeepLabv1 (Chen et al. 2015, "Semantic Image Segmentation with Deep Convolutional Nets and ... CRFs").

VGG-16 whose last two poolings keep the size, and LargeFOV: the first fully connected layer as a 3x3 convolution
with rate 12. The dense CRF after it is `engines.crf`. The trap: there is no batch norm, so without published weights
the network trains slowly or not at all.
"""

import torch
from torch import Tensor, nn

from engines.models.backbones import VGG16
from engines.models.base import DeepLab
from engines.models.config import ModelConfig
from engines.models.layers import fully_connected, quarter_logits

__all__ = ["DeepLabV1", "MultiScaleFeatures"]

MULTI_SCALE_CHANNELS = 128
STAGE_CHANNELS = (3, 64, 128, 256, 512)
"""Of the input and the first four poolings of VGG-16."""
STAGE_STRIDES = (1, 2, 4, 8, 16)


class DeepLabV1(DeepLab):
    """LargeFOV (section 4.1 and table 2): backbone, fc6 with holes, fc7, classes."""

    def __init__(self, n_classes: int, config: ModelConfig) -> None:
        super().__init__(n_classes, config)
        channels = config.aspp_channels
        self.fc6 = fully_connected(self.backbone.high_channels, channels, 3, config.rates[0], config.drop_share)
        self.fc7 = fully_connected(channels, channels, 1, 1, config.drop_share)
        self.multi_scale = MultiScaleFeatures(config.output_stride) if config.has_multi_scale_features else None
        n_features = channels + (0 if self.multi_scale is None else self.multi_scale.channels)
        self.classifier = nn.Conv2d(n_features, n_classes, 1)
        # As released: the last layer starts small, the others come from ImageNet.
        nn.init.normal_(self.classifier.weight, std=0.01)

    def forward(self, image_rgb: Tensor) -> Tensor:
        """See `DeepLab`; logits are computed at the output stride (8 in the paper) and enlarged to 4."""
        if self.multi_scale is None:
            low, high = self.backbone(image_rgb)
            features = self.fc7(self.fc6(high))
        else:
            assert isinstance(self.backbone, VGG16)
            low, poolings = self.backbone.stages(image_rgb)
            features = self.fc7(self.fc6(poolings[-1]))
            features = torch.cat([features, self.multi_scale([image_rgb, *poolings[:4]])], dim=1)
        return quarter_logits(self.classifier(features), low)

    def context_kernels(self) -> list[tuple[int, int]]:
        """See `DeepLab`."""
        return [(3, self.config.rates[0])]

    @property
    def first_convolutions(self) -> tuple[str, ...]:
        """The image enters the multi-scale features too."""
        if self.multi_scale is None:
            return super().first_convolutions
        return (*super().first_convolutions, "multi_scale.branches.0.0.weight")


class MultiScaleFeatures(nn.Module):
    """Section 2.3, "MSc": a small perceptron on the input and on each of the first four poolings.

    Two layers each, 128 convolutions 3x3 and then 128 1x1: 5 x 128 = 640 channels beside those of fc7. The 3x3 have
    the stride that brings their stage to the output stride.
    """

    channels = len(STAGE_CHANNELS) * MULTI_SCALE_CHANNELS

    def __init__(self, output_stride: int) -> None:
        super().__init__()
        hidden = MULTI_SCALE_CHANNELS
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(c_in, hidden, 3, stride=output_stride // min(stride, output_stride), padding=1),
                nn.ReLU(inplace=True),
                nn.Conv2d(hidden, hidden, 1),
                nn.ReLU(inplace=True),
            )
            for c_in, stride in zip(STAGE_CHANNELS, STAGE_STRIDES, strict=True)
        )

    def forward(self, stages: list[Tensor]) -> Tensor:
        """The image and four maps of it -> (n, 640, h, w) at the output stride."""
        return torch.cat([branch(stage) for branch, stage in zip(self.branches, stages, strict=True)], dim=1)
