"""Tensors and statistics out of nothing, for networks whose answer does not matter.

The trap: with fresh batch-norm statistics the features of a deep network shrink or grow layer by layer until they
are denormal or infinite, and arithmetic on denormals is many times slower; `settled` gives every norm the
statistics of noise first.
"""

from typing import TypeVar

import torch
from torch import Tensor, nn

__all__ = ["noise_bgr", "noise_labels", "settled"]

SETTLING_SIDE_PX = 128
LOGITS_DEVIATION = 0.005

Network = TypeVar("Network", bound=nn.Module)


def noise_bgr(n: int, height: int, width: int, seed: int = 0) -> Tensor:
    """(n, height, width, 3) uint8, every value equally likely."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, height, width, 3), dtype=torch.uint8, generator=generator)


def noise_labels(n: int, height: int, width: int, n_classes: int, seed: int = 0) -> Tensor:
    """(n, height, width) uint8 of classes 0 to `n_classes` - 1."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, n_classes, (n, height, width), dtype=torch.uint8, generator=generator)


@torch.no_grad()
def settled(model: Network, passes: int = 3) -> Network:
    """The same network in evaluation mode, its batch norms holding the statistics of noise, its logits made small.

    An untrained ResNet-101 loses some per cent of its answer to rounding (float32 against float64), and an exported
    graph is held to 1e-3 in logits.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    model.train()
    generator = torch.Generator().manual_seed(0)
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain average over the passes
        for _ in range(passes):
            model(torch.rand(2, 3, SETTLING_SIDE_PX, SETTLING_SIDE_PX, generator=generator) * 2 - 1)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    model.eval()
    logits = model(torch.rand(2, 3, SETTLING_SIDE_PX, SETTLING_SIDE_PX, generator=generator) * 2 - 1)
    last = [module for part in getattr(model, "classifiers", ()) for module in model.get_submodule(part).modules()]
    for layer in last:
        if isinstance(layer, nn.Conv2d) and layer.out_channels == logits.shape[1]:
            for parameter in layer.parameters():
                parameter.mul_(LOGITS_DEVIATION / logits.std())
    return model
