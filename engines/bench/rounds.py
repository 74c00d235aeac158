"""Contenders take turns, so that a machine that slows down slows all of them.

A rate is units a second over one round; what is reported is the median over the rounds, with the lowest and
the highest. The trap: the ratio of two medians still mixes rounds; `ratio` is the median of the ratios *within*
each round, where both saw the same machine.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Contender", "Rates", "interleaved", "ratio"]


@dataclass(frozen=True)
class Contender:
    """Something that is timed."""

    name: str
    work: Callable[[], int]
    """Does one round's work and returns how many units (pictures) it was."""


@dataclass(frozen=True)
class Rates:
    """Units a second, one figure a round."""

    per_s: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle round's rate."""
        return statistics.median(self.per_s)

    def as_json(self) -> dict[str, object]:
        """Rounded for people; the rounds are kept, so that anybody can see the spread."""
        return {
            "median_per_s": round(self.median, 3),
            "lowest_per_s": round(min(self.per_s), 3),
            "highest_per_s": round(max(self.per_s), 3),
            "rounds": [round(rate, 3) for rate in self.per_s],
        }


def interleaved(contenders: Sequence[Contender], rounds: int, warm_up: int = 1) -> dict[str, Rates]:
    """Every contender once a round; every other round in the opposite order.

    Args:
        warm_up: rounds before the counted ones: caches fill, memory is touched, threads start.

    Raises:
        ValueError: no rounds, or two contenders of one name.
    """
    if rounds < 1 or len({one.name for one in contenders}) != len(contenders):
        raise ValueError(f"{rounds} rounds of {[one.name for one in contenders]}: expected 1 or more, names apart")
    counted: dict[str, list[float]] = {one.name: [] for one in contenders}
    for number in range(-warm_up, rounds):
        for one in contenders if number % 2 == 0 else reversed(contenders):
            start_ns = time.monotonic_ns()
            n_done = one.work()
            seconds = (time.monotonic_ns() - start_ns) / 1e9
            if number >= 0:
                counted[one.name].append(n_done / max(seconds, 1e-9))
    return {name: Rates(tuple(rates)) for name, rates in counted.items()}


def ratio(first: Rates, second: Rates) -> float:
    """How many times as fast the first is: the median over the rounds.

    Raises:
        ValueError: the two were not measured in the same rounds.
    """
    return statistics.median(a / b for a, b in zip(first.per_s, second.per_s, strict=True))
