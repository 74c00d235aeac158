"""The small DeepLabv3 that Google published for Pascal VOC: image pooling and one 1x1, no atrous branch, no decoder.

It exists to hold those weights: a teacher, a baseline, and a network that knows 21 classes without training.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engines.models.base import DeepLab
from engines.models.config import ModelConfig
from engines.models.layers import pooled, quarter_logits

__all__ = ["DeepLabVOC"]

CHANNELS = 256


class DeepLabVOC(DeepLab):
    """MobileNetV2 with the smallest head; batch norm is already folded into its convolutions."""

    classifiers = ("logits",)

    def __init__(self, n_classes: int, config: ModelConfig) -> None:
        super().__init__(n_classes, config)
        self.aspp0 = nn.Conv2d(self.backbone.high_channels, CHANNELS, 1)
        self.image_pooling = nn.Conv2d(self.backbone.high_channels, CHANNELS, 1)
        self.concat_projection = nn.Conv2d(2 * CHANNELS, CHANNELS, 1)
        self.logits = nn.Conv2d(CHANNELS, n_classes, 1)

    def forward(self, image_rgb: Tensor) -> Tensor:
        """See `DeepLab`."""
        low, high = self.backbone(image_rgb)
        image_level = F.relu(self.image_pooling(pooled(high)))
        context = F.relu(self.aspp0(high))
        joined = torch.cat([image_level.expand(-1, -1, high.shape[2], high.shape[3]), context], dim=1)
        return quarter_logits(self.logits(F.relu(self.concat_projection(joined))), low)
