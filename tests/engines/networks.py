"""Networks without training whose logits still differ from pixel to pixel: settled statistics, spread logits.

With PyTorch's own initial weights and untouched statistics all logits are nearly alike, and a comparison of two
graphs of such a network proves nothing.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from engines.models.deeplab import DeepLab, ModelConfig, build

SMALL = ModelConfig(aspp_channels=8, low_channels=4, atrous_rates=(2, 4))


def settled(config: ModelConfig, n_classes: int, height: int = 64, width: int = 96) -> DeepLab:
    """A network in evaluation mode; the logits of noise have mean 0 and deviation 0.5 in every class."""
    torch.set_num_threads(2)
    torch.manual_seed(0)
    model = build(config, n_classes)
    with torch.no_grad():
        images = model.normalise(torch.from_numpy(noise(1, height, width)))
        for norm in (module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)):
            norm.momentum = 1.0
        model.train()
        model(torch.cat([images, images.flip(3)]))
        logits = model.eval()(images)
        mean, spread = logits.mean(dim=(0, 2, 3)), 2 * logits.std(dim=(0, 2, 3))
        for name, parameter in model.named_parameters():
            if name.split(".")[0] in model.classifiers or name.rpartition(".")[0] in model.classifiers:
                if parameter.ndim == 1:
                    parameter.sub_(mean if len(model.classifiers) == 1 else 0).div_(spread)
                else:
                    parameter.div_(spread.reshape(-1, 1, 1, 1))
    return model


def noise(n: int, height: int = 64, width: int = 96) -> NDArray[np.uint8]:
    """(n, height, width, 3)."""
    return np.random.default_rng(1).integers(0, 256, (n, height, width, 3), dtype=np.uint8)
