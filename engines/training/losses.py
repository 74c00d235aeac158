"""Cross-entropy and dice on logits brought to full size.

One `log_softmax` serves both. Pixels labelled 255 count in neither. The trap: under bf16 autocast the logits
arrive in bf16, and a sum over 80 000 pixels in bf16 is noise; everything here is float32.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from engines.data import IGNORE

__all__ = ["segmentation_loss"]


def segmentation_loss(logits: Tensor, labels: Tensor, dice_weight: float) -> Tensor:
    """Mean cross-entropy plus weighted dice.

    Args:
        logits: (n, C, h, w) at any stride.
        labels: (n, H, W) integer, 255 ignored.
        dice_weight: 0 leaves the dice term out.

    Returns:
        A scalar; 0 when every pixel is ignored.
    """
    full = F.interpolate(logits.float(), size=labels.shape[1:], mode="bilinear", align_corners=False)
    log_probs = full.contiguous().log_softmax(dim=1)
    labels = labels.long()
    is_counted = labels != IGNORE
    n_counted = is_counted.sum().clamp(min=1)
    loss = F.nll_loss(log_probs, labels, ignore_index=IGNORE, reduction="sum") / n_counted
    if dice_weight:
        loss = loss + dice_weight * _dice(log_probs, labels, is_counted)
    return loss


def _dice(log_probs: Tensor, labels: Tensor, is_counted: Tensor) -> Tensor:
    """1 - dice, averaged over the classes that occur; pooled over the batch (Milletari et al. 2016)."""
    counted = is_counted.unsqueeze(1)
    probs = log_probs.exp() * counted
    truth = F.one_hot(labels.masked_fill(~is_counted, 0), probs.shape[1]).movedim(-1, 1) * counted
    overlap = (probs * truth).sum(dim=(0, 2, 3))
    total = probs.sum(dim=(0, 2, 3)) + truth.sum(dim=(0, 2, 3))
    occurs = truth.sum(dim=(0, 2, 3)) > 0
    dice = 1 - (2 * overlap + 1) / (total + 1)
    return torch.where(occurs, dice, 0).sum() / occurs.sum().clamp(min=1)
