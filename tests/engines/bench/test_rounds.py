"""Contenders that take turns, and what is made of their rates."""

import json

import pytest

from engines.bench.report import Comparison
from engines.bench.rounds import Contender, Rates, interleaved, ratio


def test_every_other_round_runs_in_the_opposite_order() -> None:
    """A machine that slows down during a round does not always hit the same contender."""
    order: list[str] = []

    def work(name: str) -> Contender:
        return Contender(name, lambda: order.append(name) or 1)

    interleaved([work("a"), work("b")], rounds=3, warm_up=0)

    assert order == ["a", "b", "b", "a", "a", "b"]


def test_warm_up_rounds_are_not_counted() -> None:
    """The first round fills caches; its rate is not in the result."""
    calls: list[int] = []

    rates = interleaved([Contender("only", lambda: calls.append(1) or 5)], rounds=2, warm_up=3)

    assert len(calls) == 5
    assert len(rates["only"].per_s) == 2


def test_the_ratio_is_taken_within_each_round() -> None:
    """A disturbance that slows one whole round leaves the ratio as it is; the ratio of medians would move."""
    first, second = Rates((10.0, 1.0, 8.0)), Rates((20.0, 2.0, 16.0))

    assert ratio(first, second) == pytest.approx(0.5)


@pytest.mark.parametrize(("rounds", "names"), [(0, ["a"]), (1, ["a", "a"])])
def test_nothing_to_compare_is_refused(rounds: int, names: list[str]) -> None:
    """No rounds, or two contenders that could not be told apart."""
    with pytest.raises(ValueError, match="expected"):
        interleaved([Contender(name, lambda: 1) for name in names], rounds)


def test_a_missed_bar_is_said_on_the_terminal_and_in_the_file(tmp_path) -> None:
    """The verdict, the figures of each round and the machine are in one JSON file."""
    rates = {"loop": Rates((8.0, 8.0)), "bare": Rates((10.0, 10.0))}
    comparison = Comparison("How fast?", "loop", "bare", 0.9, rates, {"batch": 4})

    comparison.write(tmp_path / "new" / "figures.json")

    assert "MISSED" in comparison.lines()[-1]
    stored = json.loads((tmp_path / "new" / "figures.json").read_text())
    assert (stored["ratio"], stored["is_met"]) == (0.8, False)
    assert stored["rates"]["loop"]["rounds"] == [8.0, 8.0]
    assert stored["machine"]["usable_cores"] >= 1
    assert stored["conditions"] == {"batch": 4}
