"""A network and its losses as one module: crops in, terms out. One module, so that DDP wraps the whole of it.

Every term comes as this part's share of the whole batch's value: summed over accumulated parts and over processes
they give the value a single pass over the whole batch would have had. Exactly so for cross-entropy, boundary and
distillation, and for dice over processes; OHEM, Lovasz, dice over accumulated parts and the temporal term are means
of the parts' own values.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engines.data.consecutive import FrameBatch
from engines.models.deeplab import DeepLab
from engines.training.config import TrainConfig
from engines.training.distil import divergence
from engines.training.distributed import n_processes
from engines.training.losses import label_terms
from engines.training.temporal import inconsistency

__all__ = ["Part", "Supervision"]

SHARED = ("dice", "ohem", "lovasz")
"""Terms that are means of their part, and are divided by the number of parts."""


@dataclass(frozen=True, eq=False)
class Part:
    """What one forward pass sees, on the device."""

    images_bgr: Tensor
    """(n, H, W, 3) uint8."""
    labels: Tensor
    """(n, H, W) uint8."""
    soft_log_probs: Tensor | None = None
    """(n, C, h, w) of the teacher."""
    soft_weights: Tensor | None = None
    """(n, h, w) of each pixel's divergence; 0 leaves it out."""
    soft_share: Tensor | None = None
    """(n, h, w) of each pixel, what is picture and no bar: what the mean is over."""
    frames: FrameBatch | None = None


class Supervision(nn.Module):
    """What is trained, and what it is trained by."""

    def __init__(
        self, model: DeepLab, config: TrainConfig, autocast: torch.autocast, class_weights: Tensor | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.autocast = autocast
        self.class_weights = nn.Buffer(class_weights, persistent=False) if class_weights is not None else None
        self.supervised: Callable[[Tensor], list[Tensor]] = model.supervised
        if config.compile:
            self.supervised = torch.compile(model.supervised)

    def forward(self, part: Part, totals: Mapping[str, Tensor], n_parts: int) -> dict[str, Tensor]:
        """Terms by name, and `loss`, their weighted sum.

        Args:
            totals: sums of the pixels' weights over the whole batch, see `engines.training.losses`.
            n_parts: of the whole batch, over accumulation and processes.
        """
        config = self.config
        outputs = self.logits(part.images_bgr)
        terms: dict[str, Tensor] = {}
        for logits in outputs:
            # DeepLabv2 is supervised at every scale and fused (Chen et al. 2017, section 3.1): the terms are added.
            for name, value in label_terms(logits, part.labels, config.losses, self.class_weights, totals).items():
                share = value / n_parts if name in SHARED else value
                terms[name] = terms[name] + share if name in terms else share
        if part.soft_log_probs is not None and part.soft_weights is not None:
            terms["distil"] = divergence(
                outputs[0], part.soft_log_probs, part.soft_weights, totals["distil"], config.distil.temperature
            )
        if part.frames is not None:
            first, second = self.logits(torch.cat(part.frames[:2]))[0].chunk(2)
            value = inconsistency(first, second, part.frames, config.temporal.max_difference)
            # Only one of a process's parts has frames.
            terms["temporal"] = value / n_processes()
        terms["loss"] = torch.stack([self.weight_of(name) * value for name, value in terms.items()]).sum()
        return terms

    def logits(self, images_bgr: Tensor) -> list[Tensor]:
        """Everything the loss sees, each (n, C, h, w)."""
        images_rgb = self.model.normalise(images_bgr).contiguous(memory_format=torch.channels_last)
        with self.autocast:
            return self.supervised(images_rgb)

    def weight_of(self, term: str) -> float:
        """In the sum. Distillation's own weights are already in its pixels' weights."""
        if term == "distil":
            return 1.0
        return float(self.config.temporal.weight if term == "temporal" else getattr(self.config.losses, term))
