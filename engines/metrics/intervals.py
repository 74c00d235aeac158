"""How sure a score is: 95 % bootstrap intervals over images.

Efron 1979: images are drawn again with replacement, a thousand times, and the pooled score of every draw is made; the
interval is the middle 95 % of them. Pixels of one image are no independent samples, so images are drawn, not pixels.
The trap: frames of one video are not independent either; on a clip the interval is too narrow.
"""

from collections.abc import Callable

import numpy as np

from engines.metrics.ratios import Floats, Ints

__all__ = ["Interval", "bootstrap"]

Interval = tuple[float, float]
"""2.5th and 97.5th percentile; nan where a score is undefined."""

N_RESAMPLES = 1000
CHUNK = 100
"""Resamples at a time: their weights are a matrix of resamples x images."""


def bootstrap(counts: Ints, score: Callable[[Ints], Floats], seed: int = 0) -> list[Interval]:
    """Intervals of scores of pooled counts.

    Args:
        counts: (images, K) per image.
        score: (n, K) summed counts -> (n, M) scores.
        seed: of the draws; the same seed gives the same intervals.

    Returns:
        M intervals; a draw in which a score is undefined is left out of its interval.
    """
    n_images = len(counts)
    rng = np.random.default_rng(seed)
    # Counts stay far below 2^53, so float64 sums them exactly, and a matrix product of floats is ten times as fast.
    exact = counts.astype(np.float64)
    drawn = []
    for _ in range(0, N_RESAMPLES, CHUNK):
        weights = rng.multinomial(n_images, np.full(n_images, 1 / n_images), size=CHUNK)
        drawn.append(score((weights.astype(np.float64) @ exact).astype(np.int64)))
    columns = np.concatenate(drawn).T
    return [_middle(column[~np.isnan(column)]) for column in columns]


def _middle(values: Floats) -> Interval:
    if not values.size:
        return (float("nan"), float("nan"))
    low, high = np.percentile(values, (2.5, 97.5))
    return (float(low), float(high))
