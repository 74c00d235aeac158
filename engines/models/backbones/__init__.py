"""The networks that see; each in its file, each one line in `BACKBONES`.

Parameter names are torchvision's wherever torchvision has the network, so that its published weights load with
`strict=True`; torchvision itself is not needed.
"""

from collections.abc import Callable

from engines.models.backbones.base import Backbone
from engines.models.backbones.mobilenet_v2 import MobileNetV2
from engines.models.config import BackboneName, ModelConfig

__all__ = ["BACKBONES", "Backbone", "MobileNetV2", "backbone_of"]

BACKBONES: dict[BackboneName, Callable[[ModelConfig], Backbone]] = {
    "mobilenet_v2": lambda config: MobileNetV2(config.output_stride, config.width),
}


def backbone_of(config: ModelConfig) -> Backbone:
    """The backbone of a config, with PyTorch's own initial weights."""
    return BACKBONES[config.backbone](config)
