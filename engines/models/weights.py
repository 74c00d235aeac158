"""Pretrained arrays (`.npz`, torchvision's names) into a network.

Two kinds are understood: an ImageNet MobileNetV2 (its classifier and `features.18` are left out) and the
DeepLabv3 of Pascal VOC. A file that lacks a backbone tensor is refused; nothing is skipped in silence.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from engines.errors import CheckpointError
from engines.models.deeplab import DeepLab, ModelConfig, build

__all__ = ["VOC_CLASSES", "load_backbone", "voc_deeplab", "voc_palette"]

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tv",
)  # fmt: skip
N_BACKBONE_BLOCKS = 18


def load_backbone(backbone: nn.Module, path: Path) -> None:
    """Fill a `MobileNetV2`, every tensor of it, from an `.npz` with torchvision's names.

    Raises:
        CheckpointError: the file cannot be read, lacks a tensor, or a tensor has another shape.
    """
    arrays = _arrays(path)
    kept = {
        name: array
        for name, array in arrays.items()
        if name.startswith("features.") and int(name.split(".")[1]) < N_BACKBONE_BLOCKS
    }
    _fill(backbone, kept, path)


def voc_deeplab(path: Path) -> DeepLab:
    """The published Pascal VOC network, ready for evaluation."""
    model = build(ModelConfig(version="voc"), len(VOC_CLASSES))
    arrays = {("backbone." + name if name.startswith("features.") else name): a for name, a in _arrays(path).items()}
    _fill(model, arrays, path)
    model.eval()
    return model


def voc_palette(n_classes: int = len(VOC_CLASSES)) -> tuple[tuple[int, int, int], ...]:
    """Pascal VOC's colours, (R, G, B): the bits of the index spread over the three channels."""
    palette = []
    for index in range(n_classes):
        red = green = blue = 0
        for bit in range(8):
            red |= (index >> (3 * bit) & 1) << (7 - bit)
            green |= (index >> (3 * bit + 1) & 1) << (7 - bit)
            blue |= (index >> (3 * bit + 2) & 1) << (7 - bit)
        palette.append((red, green, blue))
    return tuple(palette)


def _arrays(path: Path) -> dict[str, Tensor]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: torch.from_numpy(np.asarray(stored[name])) for name in stored.files}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as .npz ({error}); pass a file of named arrays") from error


def _fill(module: nn.Module, arrays: dict[str, Tensor], path: Path) -> None:
    try:
        module.load_state_dict(arrays, strict=True)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{path}: does not fit {type(module).__name__}: {first}") from error
