"""Weights into a network: a published backbone, a whole published network, or a checkpoint of ours.

Files are `.npz` arrays or PyTorch state dicts (read with `weights_only=True`) with torchvision's names. A file that
lacks a tensor is refused; what is left out is said, never skipped in silence.
"""

import copy
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from engines.data.known import VOC
from engines.errors import CheckpointError
from engines.models.deeplab import DeepLab, ModelConfig, build
from engines.models.fully_connected import decimated_into
from engines.models.published import PUBLISHED, imagenet_file
from engines.models.voc_context import context_into

__all__ = ["init_from", "load_backbone_weights", "towards", "voc_deeplab"]

NESTED_UNDER = ("weights", "state_dict", "model")
"""Where files that hold more than a state dict keep it; `weights` is our own checkpoint's."""
PREFIXES = ("module.", "backbone.")


def load_backbone_weights(model: DeepLab, source: str) -> str:
    """Fill the backbone, and what the file has of a head: fc6 and fc7 of a VGG-16, the context of the VOC network.

    Args:
        source: `none`, `imagenet` (see `published`), or a path to `.npz`, `.pt` or `.pth`.

    Returns:
        What was loaded and what was left out, for the log.

    Raises:
        CheckpointError: the file cannot be had or read, lacks a tensor, a tensor has another shape, or the model
            normalises otherwise than a published file wants.
    """
    if source == "none":
        return "backbone: initial weights"
    path = imagenet_file(model.config) if source == "imagenet" else Path(source)
    if path.name in PUBLISHED.values() and model.config.normalisation != "imagenet":
        raise CheckpointError(
            f"{path}: torchvision's {path.name} wants model.normalisation imagenet; the config says "
            f"{model.config.normalisation}"
        )
    tensors = _tensors(path)
    said = _fill_backbone(model.backbone, tensors, path)
    return "; ".join(told for told in (said, decimated_into(model, tensors), context_into(model, tensors)) if told)


def init_from(
    model: DeepLab, weights: Mapping[str, Tensor], source: str, classes: tuple[str, ...], old_classes: tuple[str, ...]
) -> str:
    """Start from another training: everything, or with another class list everything but the classifier.

    Args:
        weights: of a network of the same kind; `source` names it in messages.
        classes: of `model`; `old_classes` are those that `weights` were trained on.

    Returns:
        What was reset, for the log.

    Raises:
        CheckpointError: a tensor is missing or has another shape.
    """
    kept = dict(weights)
    said = f"init_from {source}: every weight taken over"
    if classes != old_classes:
        reset = [name for name in kept if name.startswith(tuple(f"{part}." for part in model.classifiers))]
        current = model.state_dict()
        kept.update({name: current[name] for name in reset if name in current})
        said = (
            f"init_from {source}: its classes {_listed(old_classes)} are not {_listed(classes)}, so the classifier "
            f"starts anew ({len(reset)} tensors: {', '.join(model.classifiers)}); "
            f"the other {len(kept) - len(reset)} are kept"
        )
    try:
        model.load_state_dict(kept, strict=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"init_from {source}: does not fit {model.config.title}: {_first(error)}; "
            "use the same model options, or name the file as backbone_weights to take its backbone only"
        ) from error
    return said


@torch.no_grad()
def towards(model: DeepLab, source: str, share: float) -> str:
    """Move what `load_backbone_weights` would fill part of the way back to it: it knows more of the world.

    Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", equation 1. The trap: statistics of batch norm move
    with them, which is right as long as both trainings kept them where they were.

    Args:
        source: as `load_backbone_weights` takes it, and with its errors.
        share: of the way, 0 to 1.

    Returns:
        What was done, for the log.
    """
    published = copy.deepcopy(model)
    for tensor in published.state_dict().values():
        if tensor.is_floating_point():
            tensor.fill_(torch.nan)
    load_backbone_weights(published, source)
    weights, n_moved = model.state_dict(), 0
    for name, tensor in published.state_dict().items():
        if tensor.is_floating_point() and not tensor.isnan().any():
            weights[name].lerp_(tensor, share)
            n_moved += 1
    return f"init_share: {n_moved} tensors go {share:.0%} of the way back to {source}"


def voc_deeplab(path: Path) -> DeepLab:
    """The published Pascal VOC network, ready for evaluation."""
    model = build(ModelConfig(version="voc"), len(VOC.names))
    named = {("backbone." + name if name.startswith("features.") else name): t for name, t in _tensors(path).items()}
    try:
        model.load_state_dict(named, strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: does not fit {model.config.title}: {_first(error)}") from error
    model.eval()
    return model


def _fill_backbone(backbone: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> str:
    wanted = backbone.state_dict()
    kept = {name: tensor for name, tensor in tensors.items() if name in wanted}
    try:
        backbone.load_state_dict(kept, strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: does not fit {type(backbone).__name__}: {_first(error)}") from error
    left = sorted({".".join(name.split(".")[:2]) for name in tensors if name not in wanted})
    left_out = f"; left out: {', '.join(left)}" if left else ""
    return f"backbone: {len(kept)} tensors from {path.name}{left_out}"


def _tensors(path: Path) -> dict[str, Tensor]:
    """Named tensors of a file, without the prefixes of wrappers."""
    stored = _npz(path) if path.suffix == ".npz" else _state_dict(path)
    for prefix in PREFIXES:
        if any(name.startswith(prefix) for name in stored):
            stored = {name.removeprefix(prefix): tensor for name, tensor in stored.items()}
    return stored


def _npz(path: Path) -> dict[str, Tensor]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: torch.from_numpy(np.asarray(stored[name])) for name in stored.files}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as .npz ({error}); pass a file of named arrays") from error


def _state_dict(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path}: cannot be read as a PyTorch state dict ({_first(error)}); pass .npz, .pt or .pth"
        ) from error
    for key in NESTED_UNDER:
        if isinstance(stored, dict) and isinstance(stored.get(key), dict) and _is_state_dict(stored[key]):
            stored = stored[key]
            break
    if not _is_state_dict(stored):
        raise CheckpointError(f"{path}: holds no state dict; expected tensors by name, as torchvision publishes them")
    return dict(stored)


def _is_state_dict(stored: object) -> bool:
    return isinstance(stored, dict) and bool(stored) and all(isinstance(value, Tensor) for value in stored.values())


def _listed(classes: tuple[str, ...]) -> str:
    shown = ", ".join(classes[:4])
    return f"({shown}{', ...' if len(classes) > 4 else ''}: {len(classes)})"


def _first(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
