"""Batch norm's statistics while training: the batch's own, slow, shared between processes, or left as they came.

The trap: `model.train()` undoes all of this; call `training_mode` instead, before every stretch of steps.
"""

from collections.abc import Iterable

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from engines.errors import TrainingError
from engines.training.optimisers import part_of
from engines.training.recipe import BatchNorm, Statistics

__all__ = ["chosen", "prepared", "training_mode"]


def prepared(
    model: nn.Module,
    options: BatchNorm,
    is_pretrained: bool,
    is_on_gpu: bool,
    with_backbone: tuple[str, ...] = (),
) -> nn.Module:
    """The network with its layers' momentum set, and synchronised where that is asked for.

    Raises:
        TrainingError: `sync` on a CPU, which torch cannot do.
    """
    for part, statistics in chosen(options, is_pretrained):
        if statistics is Statistics.SYNC and not is_on_gpu:
            raise TrainingError(f"batch_norm.{part}: sync needs a GPU; take frozen or slow on a CPU")
        for name, layer in _layers(model):
            if part_of(name, with_backbone) != part:
                continue
            if statistics is Statistics.SLOW:
                layer.momentum = options.momentum
            elif statistics is Statistics.SYNC:
                owner, _, last = name.rpartition(".")
                setattr(model.get_submodule(owner), last, nn.SyncBatchNorm.convert_sync_batchnorm(layer))  # type: ignore[no-untyped-call]
    return model


def training_mode(
    model: nn.Module,
    options: BatchNorm,
    is_pretrained: bool,
    still: Iterable[nn.Module] = (),
    with_backbone: tuple[str, ...] = (),
) -> None:
    """`model.train()`, but frozen statistics stay in evaluation mode, and so do the `still` blocks."""
    model.train()
    frozen = {part for part, statistics in chosen(options, is_pretrained) if statistics is Statistics.FROZEN}
    for name, layer in _layers(model):
        if part_of(name, with_backbone) in frozen:
            layer.eval()
    for block in still:
        for module in block.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


def chosen(options: BatchNorm, is_pretrained: bool) -> tuple[tuple[str, Statistics], tuple[str, Statistics]]:
    """What holds for `backbone` and for `head`."""
    backbone = options.backbone or (Statistics.FROZEN if is_pretrained else Statistics.TRAIN)
    return ("backbone", backbone), ("head", options.head)


def _layers(model: nn.Module) -> list[tuple[str, _BatchNorm]]:
    return [(name, module) for name, module in model.named_modules() if isinstance(module, _BatchNorm)]
