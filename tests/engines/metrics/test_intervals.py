"""Bootstrap intervals against what theory says of them."""

import math

import numpy as np
import pytest

from engines.metrics.intervals import bootstrap


def _share(pooled: np.ndarray) -> np.ndarray:
    return (pooled[:, 0] / pooled[:, 1])[:, None]


def test_the_interval_of_a_mean_is_that_of_the_normal_law() -> None:
    """400 images with one right pixel or none: 1.96 standard errors on each side, within a tenth."""
    rng = np.random.default_rng(0)
    rows = np.stack([rng.integers(0, 2, 400), np.ones(400, int)], axis=1)

    ((low, high),) = bootstrap(rows, _share)

    mean = rows[:, 0].mean()
    half = 1.96 * math.sqrt(mean * (1 - mean) / 400)
    assert high - low == pytest.approx(2 * half, rel=0.1)
    assert (low + high) / 2 == pytest.approx(mean, abs=half / 5)


def test_the_seed_decides_the_draws() -> None:
    """The same seed, the same figures; another, others."""
    rows = np.stack([np.arange(20), np.full(20, 20)], axis=1)

    assert bootstrap(rows, _share, seed=3) == bootstrap(rows, _share, seed=3)
    assert bootstrap(rows, _share, seed=3) != bootstrap(rows, _share, seed=4)


def test_draws_without_a_class_are_left_out() -> None:
    """A class in one of twenty images is in two thirds of the draws; it has an interval, and an absent one has none."""
    rows = np.zeros((20, 2), int)
    rows[0] = (3, 4)

    def share_or_nothing(pooled: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return np.stack([pooled[:, 0] / pooled[:, 1], np.full(len(pooled), np.nan)], axis=1)

    present, absent = bootstrap(rows, share_or_nothing)

    assert present == (0.75, 0.75)
    assert all(map(math.isnan, absent))
