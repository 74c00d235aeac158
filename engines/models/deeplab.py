"""The family: a config becomes one of the five networks, and a network gets another output stride.

Every one takes normalised RGB whose sides are multiples of 32 and gives logits at stride 4. The trap: `build` gives
PyTorch's own initial weights; `engines.models.weights` fills them.
"""

from collections.abc import Callable

import torch

from engines.models.base import DeepLab
from engines.models.config import ModelConfig, OutputStride, Version
from engines.models.normalisation import normalise
from engines.models.v1 import DeepLabV1
from engines.models.v2 import DeepLabV2
from engines.models.v3 import v3_of
from engines.models.v3plus import DeepLabV3Plus
from engines.models.voc import DeepLabVOC

__all__ = ["MODELS", "DeepLab", "ModelConfig", "build", "normalise", "with_output_stride"]

MODELS: dict[Version, Callable[[int, ModelConfig], DeepLab]] = {
    "v1": DeepLabV1,
    "v2": DeepLabV2,
    "v3": v3_of,
    "v3plus": DeepLabV3Plus,
    "voc": DeepLabVOC,
}


def build(config: ModelConfig, n_classes: int) -> DeepLab:
    """The network of a config, with initial weights."""
    return MODELS[config.version](n_classes, config)


def with_output_stride(model: DeepLab, output_stride: OutputStride) -> DeepLab:
    """The same weights with other strides and rates: trained at 16, evaluated at 8 (Chen et al. 2018, table 3).

    The returned network shares its weights with `model` and is in the same mode, training or evaluation.
    """
    config = model.config.model_copy(update={"output_stride": output_stride})
    with torch.device("meta"):
        other = build(config, model.n_classes)
    other.load_state_dict(model.state_dict(keep_vars=True), strict=True, assign=True)
    other.train(model.training)
    return other
