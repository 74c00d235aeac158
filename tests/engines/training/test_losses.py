"""Each term against numbers worked out by hand, or against a plain implementation."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from engines.data import IGNORE
from engines.training.losses import dice, label_terms, lovasz_softmax, near_contour, ohem, pixel_weights
from engines.training.recipe import Losses


def _logits(*probs_of_class_1: float) -> Tensor:
    margins = torch.tensor([math.log(p / (1 - p)) for p in probs_of_class_1]).reshape(1, 1, 1, -1)
    return torch.cat([torch.zeros_like(margins), margins], dim=1)


def _terms(logits: Tensor, labels: Tensor, options: Losses, class_weights: Tensor | None = None) -> dict[str, Tensor]:
    totals = {name: weight.sum() for name, weight in pixel_weights(labels, options, class_weights).items()}
    return label_terms(logits, labels, options, class_weights, totals)


def test_cross_entropy_of_two_pixels() -> None:
    """Mean of -log p of the true class."""
    terms = _terms(_logits(0.8, 0.4), torch.tensor([[[1, 0]]]), Losses(dice=0))

    assert set(terms) == {"cross_entropy"}
    assert terms["cross_entropy"].item() == pytest.approx(-(math.log(0.8) + math.log(0.6)) / 2, abs=1e-6)


def test_class_weights_make_a_weighted_mean() -> None:
    """A class of weight 3 counts as three pixels."""
    terms = _terms(_logits(0.8, 0.4), torch.tensor([[[1, 0]]]), Losses(dice=0), torch.tensor([1.0, 3.0]))

    expected = -(3 * math.log(0.8) + math.log(0.6)) / 4
    assert terms["cross_entropy"].item() == pytest.approx(expected, abs=1e-6)


def test_dice_of_two_pixels() -> None:
    """1 - (2 overlap + 1) / (sum + 1) for each class, averaged."""
    term = dice(_logits(0.8, 0.4).log_softmax(dim=1), torch.tensor([[[1, 0]]]))

    person = 1 - (2 * 0.8 + 1) / (0.8 + 0.4 + 1 + 1)
    background = 1 - (2 * 0.6 + 1) / (0.2 + 0.6 + 1 + 1)
    assert term.item() == pytest.approx((person + background) / 2, abs=1e-6)


def test_dice_leaves_out_a_class_that_does_not_occur() -> None:
    """Three classes, two of them there: the mean is over two."""
    log_probs = torch.tensor([0.5, 0.3, 0.2]).log().reshape(1, 3, 1, 1).expand(1, 3, 1, 2)

    term = dice(log_probs, torch.tensor([[[0, 1]]]))

    first, second = 1 - (2 * 0.5 + 1) / (1.0 + 1 + 1), 1 - (2 * 0.3 + 1) / (0.6 + 1 + 1)
    assert term.item() == pytest.approx((first + second) / 2, abs=1e-6)


def test_ohem_keeps_the_hard_pixels() -> None:
    """Of four pixels, those whose true class has less than 0.7; with an easy batch the hardest quarter."""
    labels = torch.zeros(1, 1, 4, dtype=torch.long)
    is_counted = labels != IGNORE
    hard = -torch.tensor([[[0.9, 0.6, 0.5, 0.95]]]).log()
    easy = -torch.tensor([[[0.9, 0.8, 0.99, 0.95]]]).log()

    some = ohem(hard, torch.ones(1, 1, 4), is_counted, 0.7, 0.25)
    at_least = ohem(easy, torch.ones(1, 1, 4), is_counted, 0.7, 0.25)

    assert some.item() == pytest.approx(-(math.log(0.6) + math.log(0.5)) / 2, abs=1e-6)
    assert at_least.item() == pytest.approx(-math.log(0.8), abs=1e-6)


def test_lovasz_of_a_hard_decision_is_the_jaccard_loss() -> None:
    """On probabilities of 0 and 1 the extension equals 1 - IoU, class by class, for every outcome of four pixels."""
    truth = torch.tensor([[[0, 1, 1, 0]]])
    for drawn in itertools.product((0, 1), repeat=4):
        decided = torch.tensor(drawn)
        probs = torch.stack([(decided == 0).float(), (decided == 1).float()]).reshape(1, 2, 1, 4)
        expected = []
        for index in (0, 1):
            both = ((decided == index) & (truth.flatten() == index)).sum().item()
            either = ((decided == index) | (truth.flatten() == index)).sum().item()
            expected.append(1 - both / either)

        assert lovasz_softmax(probs, truth).item() == pytest.approx(sum(expected) / 2, abs=1e-6)


def test_the_contour_is_found_within_its_distance() -> None:
    """A step between columns 3 and 4: radius 1 takes one pixel on each side; 255 makes no contour."""
    labels = torch.zeros(1, 5, 8, dtype=torch.uint8)
    labels[:, :, 4:] = 1
    labels[:, :, 7] = IGNORE

    near = near_contour(labels, 1)
    wide = near_contour(labels, 2)

    assert near[0, 2].tolist() == [False, False, False, True, True, False, False, False]
    assert wide[0, 2].tolist() == [False, False, True, True, True, True, False, False]


def test_the_boundary_term_sees_the_contour_alone() -> None:
    """A gradient lies only where the contour is near."""
    logits = torch.randn(1, 2, 4, 8, requires_grad=True)
    labels = torch.zeros(1, 4, 8, dtype=torch.long)
    labels[:, :, 4:] = 1

    terms = _terms(logits, labels, Losses(cross_entropy=0, dice=0, boundary=1, boundary_px=1))
    terms["boundary"].backward()

    assert logits.grad is not None
    assert (logits.grad[..., 3:5] != 0).all()
    assert (logits.grad[..., :3] == 0).all()


ALL = Losses(cross_entropy=1, dice=1, ohem=1, lovasz=1, boundary=1)


def test_ignored_pixels_have_no_gradient() -> None:
    """255 counts in no term."""
    logits = torch.randn(1, 2, 2, 2, requires_grad=True)

    terms = _terms(logits, torch.tensor([[[0, 1], [IGNORE, 1]]]), ALL)
    torch.stack(list(terms.values())).sum().backward()

    assert set(terms) == {"cross_entropy", "dice", "ohem", "lovasz", "boundary"}
    assert logits.grad is not None
    assert (logits.grad[0, :, 1, 0] == 0).all()
    assert (logits.grad[0, :, 0, 1] != 0).any()


def test_a_batch_that_is_ignored_wholly_costs_nothing() -> None:
    """Every term is 0 and finite, so one such batch cannot spoil a training."""
    logits = torch.randn(1, 2, 2, 2, requires_grad=True)

    loss = torch.stack(list(_terms(logits, torch.full((1, 2, 2), IGNORE), ALL).values())).sum()
    loss.backward()

    assert loss.item() == 0.0
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
