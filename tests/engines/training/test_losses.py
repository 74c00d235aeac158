"""The loss against numbers worked out by hand."""

import math

import pytest
import torch

from engines.data import IGNORE
from engines.training.losses import segmentation_loss


def _logits(*probs_of_class_1: float) -> torch.Tensor:
    margins = torch.tensor([math.log(p / (1 - p)) for p in probs_of_class_1]).reshape(1, 1, 1, -1)
    return torch.cat([torch.zeros_like(margins), margins], dim=1)


def test_cross_entropy_of_two_pixels() -> None:
    """Mean of -log p of the true class."""
    loss = segmentation_loss(_logits(0.8, 0.4), torch.tensor([[[1, 0]]]), dice_weight=0)

    assert loss.item() == pytest.approx(-(math.log(0.8) + math.log(0.6)) / 2, abs=1e-6)


def test_dice_of_two_pixels() -> None:
    """1 - (2 overlap + 1) / (sum + 1) for each class, averaged."""
    with_dice = segmentation_loss(_logits(0.8, 0.4), torch.tensor([[[1, 0]]]), dice_weight=1)
    without = segmentation_loss(_logits(0.8, 0.4), torch.tensor([[[1, 0]]]), dice_weight=0)

    person = 1 - (2 * 0.8 + 1) / (0.8 + 0.4 + 1 + 1)
    background = 1 - (2 * 0.6 + 1) / (0.2 + 0.6 + 1 + 1)
    assert (with_dice - without).item() == pytest.approx((person + background) / 2, abs=1e-6)


def test_ignored_pixels_have_no_gradient() -> None:
    """255 counts in neither term."""
    logits = torch.randn(1, 2, 2, 2, requires_grad=True)

    segmentation_loss(logits, torch.tensor([[[0, 1], [IGNORE, 1]]]), dice_weight=1).backward()

    assert logits.grad is not None
    assert (logits.grad[0, :, 1, 0] == 0).all()
    assert (logits.grad[0, :, 0, 1] != 0).any()


def test_a_batch_that_is_ignored_wholly_costs_nothing() -> None:
    """The loss is 0 and finite, so one such batch cannot spoil a training."""
    logits = torch.randn(1, 2, 2, 2, requires_grad=True)

    loss = segmentation_loss(logits, torch.full((1, 2, 2), IGNORE), dice_weight=1)
    loss.backward()

    assert loss.item() == 0.0
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
