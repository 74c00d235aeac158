"""Learning rates and the moving average of the weights, as functions of the step.

They hold no state of their own beyond the averaged weights, so a resumed run continues exactly.
"""

import torch
from torch import Tensor, nn

__all__ = ["Average", "poly"]


def poly(step: int, n_steps: int, power: float, warm_up: int) -> float:
    """Factor of the learning rate: a linear rise over `warm_up` steps, then (1 - step / n_steps) ** power."""
    rise = min(1.0, (step + 1) / warm_up) if warm_up else 1.0
    return float(rise * max(0.0, 1 - step / n_steps) ** power)


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
        for name, value in model.state_dict().items():
            kept: Tensor = self.weights[name]
            if kept.is_floating_point():
                kept.lerp_(value, 1 - decay)
            else:
                kept.copy_(value)
