"""Learning rates and averaged weights as functions of the step."""

import pytest
import torch
from torch import nn

from engines.training.recipe import Schedule
from engines.training.schedules import Average, factor


def test_poly_rises_then_falls_to_zero() -> None:
    """Linear over the warm-up, (1 - step / n) ** power after it."""
    schedule = Schedule(steps=100, power=0.9, warm_up=10)

    assert factor(0, schedule) == pytest.approx(0.1)
    assert factor(50, schedule) == pytest.approx(0.5**0.9)
    assert factor(100, schedule) == 0.0
    assert factor(0, Schedule(steps=100, warm_up=0)) == 1.0


def test_step_falls_by_its_factor_and_cosine_by_half_a_wave() -> None:
    """v1's rate falls tenfold every 2000 steps; cosine is at half in the middle."""
    step = Schedule(steps=6000, policy="step", warm_up=0)
    cosine = Schedule(steps=100, policy="cosine", warm_up=0)

    assert [factor(n, step) for n in (1999, 2000, 4000)] == pytest.approx([1, 0.1, 0.01])
    assert [factor(n, cosine) for n in (0, 50, 100)] == pytest.approx([1, 0.5, 0], abs=1e-9)


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
