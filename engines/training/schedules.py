"""Learning rates and the moving average of the weights, as functions of the step.

They hold no state of their own beyond the averaged weights, so a resumed run continues exactly.
"""

import math

import torch
from torch import Tensor, nn

from engines.training.recipe import Schedule

__all__ = ["Average", "factor", "poly"]


def factor(step: int, schedule: Schedule) -> float:
    """Of the learning rates at a step: a linear rise over `warm_up` steps times the policy's fall."""
    rise = min(1.0, (step + 1) / schedule.warm_up) if schedule.warm_up else 1.0
    match schedule.policy:
        case "poly":
            fall = poly(step, schedule.steps, schedule.power)
        case "step":
            fall = schedule.step_factor ** (step // schedule.step_every)
        case "cosine":  # Loshchilov and Hutter 2017, eq. 5, without restarts
            fall = 0.5 * (1 + math.cos(math.pi * min(1.0, step / schedule.steps)))
        case "constant":
            fall = 1.0
    return rise * fall


def poly(step: int, n_steps: int, power: float) -> float:
    """(1 - step / n_steps) ** power (Liu et al. 2015; Chen et al. 2017, section 4.1.1)."""
    return float(max(0.0, 1 - step / n_steps) ** power)


class Average:
    """Exponential moving average of weights and batch-norm statistics; what is evaluated and exported."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.n_updates = 0
        self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards the model; the first updates move faster, so that the start is soon forgotten."""
        self.n_updates += 1
        decay = min(self.decay, (1 + self.n_updates) / (10 + self.n_updates))
        averaged: list[Tensor] = []
        present: list[Tensor] = []
        for name, value in model.state_dict().items():
            kept: Tensor = self.weights[name]
            if kept.is_floating_point():
                averaged.append(kept)
                present.append(value)
            else:
                kept.copy_(value)
        torch._foreach_lerp_(averaged, present, 1 - decay)
