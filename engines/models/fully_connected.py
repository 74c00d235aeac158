"""The fully connected layers of a published VGG-16 become fc6 and fc7 of DeepLab v1 and v2.

As convolutions they are 7x7 with 4096 channels and 1x1 with 4096; DeepLab keeps 3x3 of the 7x7 and 1024 of the
4096 by leaving values out, "decimation" (Chen et al. 2015, section 3.1 and 4.1). The trap: it works only where
the head's channels divide 4096; otherwise the head starts from noise, and the log says so.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from engines.models.base import DeepLab
from engines.models.v1 import DeepLabV1
from engines.models.v2 import DeepLabV2

__all__ = ["decimated_into"]

N_CHANNELS, N_IN, SIDE = 4096, 512, 7
FC6, FC7 = "classifier.0", "classifier.3"
"""torchvision's names."""


def decimated_into(model: DeepLab, tensors: Mapping[str, Tensor]) -> str:
    """Fill fc6 and fc7, of every branch, from a VGG-16's `classifier`.

    Returns:
        What was done, for the log; empty where the network has no such layers.
    """
    pairs = _pairs(model)
    if not pairs:
        return ""
    channels = model.config.aspp_channels
    names = [f"{layer}.{part}" for layer in (FC6, FC7) for part in ("weight", "bias")]
    if any(name not in tensors for name in names) or N_CHANNELS % channels:
        return f"fc6 and fc7 start from noise (a VGG-16 classifier and channels that divide {N_CHANNELS} are needed)"
    step = N_CHANNELS // channels
    fc6 = tensors[f"{FC6}.weight"].reshape(N_CHANNELS, N_IN, SIDE, SIDE)[::step, :, ::3, ::3]
    fc7 = tensors[f"{FC7}.weight"][::step, ::step, None, None]
    with torch.no_grad():
        for first, second in pairs:
            first.weight.copy_(fc6)
            second.weight.copy_(fc7)
            for layer, name in ((first, FC6), (second, FC7)):
                assert layer.bias is not None
                layer.bias.copy_(tensors[f"{name}.bias"][::step])
    return f"fc6 and fc7 are every {step}th channel of its classifier, 3x3 of 7x7"


def _pairs(model: DeepLab) -> list[tuple[nn.Conv2d, nn.Conv2d]]:
    """(fc6, fc7) of each branch of a head on VGG-16."""
    if model.config.backbone != "vgg16":
        return []
    if isinstance(model, DeepLabV1):
        found = [(model.fc6[0], model.fc7[0])]
    elif isinstance(model, DeepLabV2):
        found = [(branch.get_submodule("0.0"), branch.get_submodule("1.0")) for branch in model.branches]
    else:
        return []
    pairs = []
    for first, second in found:
        assert isinstance(first, nn.Conv2d)
        assert isinstance(second, nn.Conv2d)
        pairs.append((first, second))
    return pairs
