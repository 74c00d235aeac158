"""DeepLabv3+ and DeepLabv3 on MobileNetV2: normalised RGB in, logits at a quarter of the size out.

Both give logits at stride 4 and nothing more: softmax, upsampling to full size and argmax belong to the
loss, to `evaluate` and to the exported graph. Sides must be multiples of 32.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from configs import Options
from engines.models.aspp import ASPP, PointwiseConv, SeparableConv
from engines.models.backbones import HIGH_CHANNELS, LOW_CHANNELS, MobileNetV2

__all__ = ["SIDE_MULTIPLE", "DeepLabV3", "DeepLabV3Plus", "ModelConfig", "build", "normalise"]

SIDE_MULTIPLE = 32
"""Heights and widths are multiples of this."""


class ModelConfig(Options):
    """What a checkpoint needs to be built again."""

    name: Literal["deeplabv3plus", "deeplabv3"] = "deeplabv3plus"
    output_stride: Literal[8, 16, 32] = 16
    aspp_channels: int = Field(128, gt=0)
    """Channels of the ASPP and of the decoder."""
    low_channels: int = Field(32, gt=0)
    """The low-level features are reduced to this many, so that they do not outweigh the ASPP."""
    atrous_rates: tuple[int, ...] = (6, 12, 18)


class DeepLabV3Plus(nn.Module):
    """Chen et al. 2018, figure 2: backbone, ASPP, and a decoder that joins the low-level features."""

    def __init__(self, n_classes: int, config: ModelConfig) -> None:
        super().__init__()
        channels = config.aspp_channels
        self.backbone = MobileNetV2(config.output_stride)
        self.aspp = ASPP(HIGH_CHANNELS, channels, config.atrous_rates)
        self.reduce_low = PointwiseConv(LOW_CHANNELS, config.low_channels)
        self.decoder = nn.Sequential(
            SeparableConv(channels + config.low_channels, channels), SeparableConv(channels, channels)
        )
        self.classifier = nn.Conv2d(channels, n_classes, 1)

    def forward(self, image_rgb: Tensor) -> Tensor:
        """(n, 3, H, W) in -1..1 -> logits (n, C, H/4, W/4)."""
        low, high = self.backbone(image_rgb)
        context = _resized_to(self.aspp(high), low)
        joined = torch.cat([context, self.reduce_low(low)], dim=1)
        logits: Tensor = self.classifier(self.decoder(joined))
        return logits


class DeepLabV3(nn.Module):
    """The published MobileNetV2 DeepLabv3 of Pascal VOC: image pooling and one 1x1, no atrous branch, no decoder."""

    def __init__(self, n_classes: int, config: ModelConfig) -> None:
        super().__init__()
        self.backbone = MobileNetV2(config.output_stride)
        self.aspp0 = nn.Conv2d(HIGH_CHANNELS, 256, 1)
        self.image_pooling = nn.Conv2d(HIGH_CHANNELS, 256, 1)
        self.concat_projection = nn.Conv2d(512, 256, 1)
        self.logits = nn.Conv2d(256, n_classes, 1)

    def forward(self, image_rgb: Tensor) -> Tensor:
        """(n, 3, H, W) in -1..1 -> logits (n, C, H/4, W/4)."""
        low, high = self.backbone(image_rgb)
        pooled = F.relu(self.image_pooling(high.mean(dim=(2, 3), keepdim=True)))
        context = F.relu(self.aspp0(high))
        joined = torch.cat([pooled.expand(-1, -1, high.shape[2], high.shape[3]), context], dim=1)
        return _resized_to(self.logits(F.relu(self.concat_projection(joined))), low)


MODELS: dict[str, type[DeepLabV3Plus] | type[DeepLabV3]] = {"deeplabv3plus": DeepLabV3Plus, "deeplabv3": DeepLabV3}


def build(config: ModelConfig, n_classes: int) -> nn.Module:
    """The network of a config, with PyTorch's own initial weights."""
    return MODELS[config.name](n_classes, config)


def normalise(images_bgr: Tensor) -> Tensor:
    """(n, H, W, 3) uint8 BGR -> (n, 3, H, W) float32 RGB in -1..1: `x / 127.5 - 1`, as the weights want it."""
    return images_bgr.flip(-1).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def _resized_to(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)
