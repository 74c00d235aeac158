"""Learning rates and averaged weights as functions of the step."""

import pytest
import torch
from torch import nn

from engines.training.schedules import Average, poly


def test_poly_rises_then_falls_to_zero() -> None:
    """Linear over the warm-up, (1 - step / n) ** power after it."""
    assert poly(0, 100, 0.9, warm_up=10) == pytest.approx(0.1)
    assert poly(50, 100, 0.9, warm_up=10) == pytest.approx(0.5**0.9)
    assert poly(100, 100, 0.9, warm_up=10) == 0.0
    assert poly(0, 100, 0.9, warm_up=0) == 1.0


def test_the_average_moves_towards_the_weights() -> None:
    """First update: decay 2/11; later never more than the one asked for."""
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
    average = Average(model, decay=0.5)
    with torch.no_grad():
        model.weight.fill_(1.0)

    average.update(model)
    assert average.weights["weight"].item() == pytest.approx(9 / 11)
    for _ in range(60):
        average.update(model)
    assert average.weights["weight"].item() == pytest.approx(1.0, abs=1e-6)


def test_counters_are_copied_not_averaged() -> None:
    """Batch norm's number of batches is an integer."""
    model = nn.BatchNorm2d(1)
    average = Average(model, decay=0.9)
    model(torch.randn(2, 1, 2, 2))

    average.update(model)

    assert average.weights["num_batches_tracked"].item() == 1
