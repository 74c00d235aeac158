"""The context of the published Pascal VOC network becomes the ASPP of a v3 or v3+.

That network (see `voc`) has a 1x1, image pooling and a projection to 256 channels, from which one linear layer reads
21 classes. An ASPP of 256 channels can hold them, so that a training starts with what twenty classes taught. Its
convolutions have biases where an ASPP has batch norm: the norm is filled so that it adds the bias and nothing more.
The trap: this holds for frozen statistics (`optimiser.with_backbone: [aspp]`); the first batch would undo it.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from engines.models.base import DeepLab
from engines.models.layers import PointwiseConv

__all__ = ["context_into"]

CHANNELS = 256
NAMES = ("aspp0", "image_pooling", "concat_projection")


def context_into(model: DeepLab, tensors: Mapping[str, Tensor]) -> str:
    """Fill 1x1, image pooling and projection of the ASPP; atrous branches are left as they are, unheard at first.

    Returns:
        What was done, for the log; empty where the file or the network has no such context.
    """
    aspp = getattr(model, "aspp", None)
    if aspp is None or model.config.aspp_channels != CHANNELS:
        return ""
    if any(f"{name}.{part}" not in tensors for name in NAMES for part in ("weight", "bias")):
        return ""
    project = tensors["concat_projection.weight"]
    weight = torch.zeros(CHANNELS, CHANNELS * (len(aspp.branches) + 1), 1, 1)
    # The published order is image pooling, 1x1; ours is 1x1, atrous branches, image pooling.
    weight[:, :CHANNELS], weight[:, -CHANNELS:] = project[:, CHANNELS:], project[:, :CHANNELS]
    _fill(aspp.branches[0], tensors["aspp0.weight"], tensors["aspp0.bias"])
    _fill(aspp.image_pooling, tensors["image_pooling.weight"], tensors["image_pooling.bias"])
    _fill(aspp.project, weight, tensors["concat_projection.bias"])
    return "ASPP: 1x1, image pooling and projection as published for Pascal VOC"


@torch.no_grad()
def _fill(layer: PointwiseConv, weight: Tensor, bias: Tensor) -> None:
    convolution, norm = layer[0], layer[1]
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    convolution.weight.copy_(weight)
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)
    norm.weight.fill_(1)
    norm.bias.copy_(bias)
