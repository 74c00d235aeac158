"""The networks that see; each in its file, each one line in `BACKBONES`.

Parameter names are torchvision's wherever torchvision has the network, so that its published weights load with
`strict=True`; torchvision itself is not needed.
"""

from collections.abc import Callable

from engines.models.backbones.base import Backbone
from engines.models.backbones.mobilenet_v2 import MobileNetV2
from engines.models.backbones.mobilenet_v3 import LARGE, SMALL, MobileNetV3
from engines.models.backbones.resnet import BasicUnit, Bottleneck, ResNet
from engines.models.backbones.vgg import VGG16
from engines.models.backbones.xception import Xception65
from engines.models.config import BackboneName, ModelConfig

__all__ = ["BACKBONES", "VGG16", "Backbone", "MobileNetV2", "MobileNetV3", "ResNet", "Xception65", "backbone_of"]

BACKBONES: dict[BackboneName, Callable[[ModelConfig], Backbone]] = {
    "vgg16": lambda config: VGG16(config.output_stride),
    "resnet18": lambda config: ResNet(BasicUnit, (2, 2, 2, 2), config.output_stride),
    "resnet50": lambda config: ResNet(Bottleneck, (3, 4, 6, 3), config.output_stride, config.multi_grid),
    "resnet101": lambda config: ResNet(Bottleneck, (3, 4, 23, 3), config.output_stride, config.multi_grid),
    "mobilenet_v2": lambda config: MobileNetV2(config.output_stride, config.width),
    "mobilenet_v3_small": lambda config: MobileNetV3(SMALL, config.output_stride),
    "mobilenet_v3_large": lambda config: MobileNetV3(LARGE, config.output_stride),
    "xception65": lambda config: Xception65(config.output_stride),
}


def backbone_of(config: ModelConfig) -> Backbone:
    """The backbone of a config, with PyTorch's own initial weights."""
    return BACKBONES[config.backbone](config)
