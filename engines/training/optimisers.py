"""Which weights move, by which rule, how fast.

Groups: backbone and head, each split into weights and biases, with decay on weights alone. The trap: a resumed
optimiser is matched to its groups by order, so the order must depend on the network alone.
"""

import torch
from torch import nn

from engines.errors import TrainingError
from engines.training.recipe import Optimiser

__all__ = ["backbone_blocks", "freeze", "optimiser_for", "part_of", "set_rates"]


def optimiser_for(model: nn.Module, options: Optimiser) -> torch.optim.Optimizer:
    """The optimiser over every parameter that learns; each group knows its `base_lr` and `part`.

    Raises:
        TrainingError: everything is frozen.
    """
    groups: dict[tuple[str, bool, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        part = part_of(name, options.with_backbone)
        decay = options.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((part, name.endswith(".bias"), decay), []).append(parameter)
    if not groups:
        raise TrainingError("optimiser.frozen leaves no parameter to learn; freeze less")
    described = []
    for (part, is_bias, decay), parameters in groups.items():
        lr = options.backbone_lr if part == "backbone" else options.head_lr
        lr *= options.bias_factor if is_bias else 1.0
        described.append({"params": parameters, "lr": lr, "base_lr": lr, "weight_decay": decay, "part": part})
    if options.kind == "sgd":
        return torch.optim.SGD(
            described, lr=options.head_lr, momentum=options.momentum, nesterov=options.nesterov and options.momentum > 0
        )
    return torch.optim.AdamW(described, lr=options.head_lr, betas=options.betas)


def part_of(name: str, with_backbone: tuple[str, ...] = ()) -> str:
    """`backbone` or `head`, by the name of a parameter or layer; prefixes in `with_backbone` count as the former."""
    return "backbone" if any(_is_in(name, part) for part in ("backbone", *with_backbone)) else "head"


def _is_in(name: str, part: str) -> bool:
    """Whether a dotted name is a part or lies in it: `features.1` is no part of `features.10.weight`."""
    return name == part or name.startswith(part.rstrip(".") + ".")


def set_rates(optimiser: torch.optim.Optimizer, factor: float) -> dict[str, float]:
    """Scale every group's own rate; returns the largest of `backbone` and of `head`."""
    rates: dict[str, float] = {}
    for group in optimiser.param_groups:
        group["lr"] = group["base_lr"] * factor
        rates[group["part"]] = max(rates.get(group["part"], 0.0), group["lr"])
    return rates


def freeze(model: nn.Module, options: Optimiser) -> list[nn.Module]:
    """Take the frozen parameters out of training; returns the blocks whose statistics must stay too.

    Raises:
        TrainingError: a part that no parameter lies in, or more blocks than there are.
    """
    blocks = backbone_blocks(model) if options.frozen_blocks else []
    if options.frozen_blocks > len(blocks):
        raise TrainingError(f"optimiser.frozen_blocks {options.frozen_blocks}: the backbone has {len(blocks)}")
    still = list(blocks[: options.frozen_blocks])
    for prefix in options.frozen:
        named = [parameter for name, parameter in model.named_parameters() if _is_in(name, prefix)]
        if not named:
            raise TrainingError(f"optimiser.frozen {prefix!r}: no parameter is called so or lies in it")
        for parameter in named:
            parameter.requires_grad_(False)
        still += [module for name, module in model.named_modules() if _is_in(name, prefix)]
    for block in blocks[: options.frozen_blocks]:
        block.requires_grad_(False)
    return still


def backbone_blocks(model: nn.Module) -> list[nn.Module]:
    """The backbone's steps from the image on: of `features` where it is one chain, else its own children."""
    children = list(model.get_submodule("backbone").children())
    if len(children) == 1 and isinstance(children[0], nn.Sequential):
        children = list(children[0].children())
    return children
