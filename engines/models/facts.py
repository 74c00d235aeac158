"""What a network weighs: parameters, multiply-adds, and how much of the image one output pixel sees.

Counted on PyTorch's `meta` device, without arithmetic, so even ResNet-101 takes a fraction of a second. The
traps: one multiply-add counts once here (GMAC), many tables count it twice (GFLOP); batch norm, activations and
resizing are left out, as in the papers' tables.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engines.models.aspp import ASPP
from engines.models.backbones.mobilenet_v3 import SqueezeExcitation
from engines.models.base import DeepLab
from engines.models.config import BackboneName, ModelConfig, Version
from engines.models.deeplab import build
from engines.models.voc import DeepLabVOC

__all__ = ["NetworkFacts", "facts_of", "papers_config"]

PAPERS: dict[Version, dict[str, object]] = {
    "v1": {"aspp_channels": 1024},
    "v2": {"aspp_channels": 1024},
    "v3": {"aspp_channels": 256, "is_separable": False},
    "v3plus": {"aspp_channels": 256, "low_channels": 48},
    "voc": {},
}

SEES_ALL = (ASPP, DeepLabVOC, SqueezeExcitation)


@dataclass(frozen=True)
class NetworkFacts:
    """Of one network at one input size."""

    n_parameters: int
    n_backbone_parameters: int
    gmac: float
    """10^9 multiply-adds of convolutions for one image."""
    receptive_px: int
    """Side of the square of input pixels that the widest path of convolutions and poolings sees."""
    sees_whole_image: bool
    """Image-level pooling, or squeeze and excitation, adds means over everything to that."""


def papers_config(version: Version, backbone: BackboneName, output_stride: int = 16) -> ModelConfig:
    """A version with its paper's channels, on any backbone."""
    return ModelConfig.model_validate(
        {"version": version, "backbone": backbone, "output_stride": output_stride, **PAPERS[version]}
    )


def facts_of(model: DeepLab, height: int, width: int) -> NetworkFacts:
    """Count a network at one input size; its weights are not touched."""
    with torch.device("meta"):
        counted = build(model.config, model.n_classes).eval()
        macs = _macs(counted, torch.zeros(1, 3, height, width))
    return NetworkFacts(
        n_parameters=sum(p.numel() for p in model.parameters()),
        n_backbone_parameters=sum(p.numel() for p in model.backbone.parameters()),
        gmac=macs / 1e9,
        receptive_px=_receptive_px(counted),
        sees_whole_image=any(isinstance(module, SEES_ALL) for module in counted.modules()),
    )


def _macs(model: nn.Module, image_rgb: Tensor) -> int:
    total = 0

    def count(module: nn.Module, _inputs: tuple[Tensor, ...], out: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d)
        # Every output value sums over the kernel and the input channels of its group.
        total += out.numel() * module.weight[0].numel()

    _with_hooks(model, nn.Conv2d, count, image_rgb)
    return total


def _receptive_px(model: DeepLab) -> int:
    """1 + the sum of (kernel - 1) x rate x stride so far, along the backbone and the widest branch of the head.

    Araujo et al. 2019 ("Computing Receptive Fields of CNNs"), eq. 2. Convolutions run one after another in every
    backbone here; those with one pixel, which includes every shortcut, add nothing and have no stride of their own.
    """
    side, stride = 1, 1

    def grow(module: nn.Module, _inputs: tuple[Tensor, ...], _out: Tensor) -> None:
        nonlocal side, stride
        assert isinstance(module, (nn.Conv2d, nn.MaxPool2d))
        kernel, rate, own_stride = (_side(value) for value in (module.kernel_size, module.dilation, module.stride))
        if kernel > 1:
            side += (kernel - 1) * rate * stride
            stride *= own_stride

    _with_hooks(model.backbone, (nn.Conv2d, nn.MaxPool2d), grow, torch.zeros(1, 3, 64, 64, device="meta"))
    for kernel, rate in model.context_kernels():
        side += (kernel - 1) * rate * stride
    return side


def _with_hooks(
    model: nn.Module,
    kinds: type[nn.Module] | tuple[type[nn.Module], ...],
    hook: Callable[[nn.Module, tuple[Tensor, ...], Tensor], None],
    image_rgb: Tensor,
) -> None:
    handles = [module.register_forward_hook(hook) for module in model.modules() if isinstance(module, kinds)]
    try:
        with torch.no_grad():
            model(image_rgb)
    finally:
        for handle in handles:
            handle.remove()


def _side(value: int | tuple[int, ...] | None) -> int:
    if isinstance(value, tuple):
        return value[0]
    assert value is not None
    return value
