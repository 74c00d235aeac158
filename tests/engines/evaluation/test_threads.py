"""Several threads, one order."""

import threading
import time

import pytest

from engines.evaluation.threads import in_order


def test_results_come_in_the_order_of_the_items() -> None:
    """Whoever is done first waits for those before."""

    def slow_at_first(item: int) -> int:
        time.sleep(0.02 if item == 0 else 0)
        return item * item

    assert list(in_order(slow_at_first, range(6), 3)) == [0, 1, 4, 9, 16, 25]


def test_only_a_few_items_are_drawn_ahead() -> None:
    """A data set is never in memory: what is drawn and not yet taken is bounded."""
    drawn: list[int] = []

    def items() -> object:
        for item in range(50):
            drawn.append(item)
            yield item

    results = in_order(lambda item: item, items(), 2)
    next(results)

    assert len(drawn) <= 2 + 2
    results.close()


def test_two_threads_work_at_once() -> None:
    """Each waits for the other: with one thread this would never end."""
    together = threading.Barrier(2, timeout=10)

    assert len(list(in_order(lambda _: together.wait(), range(4), 2))) == 4


def test_an_error_comes_where_its_result_would_have() -> None:
    """What is before it is given, what was not begun is dropped."""
    begun: list[int] = []

    def fails_at_two(item: int) -> int:
        begun.append(item)
        if item == 2:
            raise OSError("unreadable")
        return item

    results = in_order(fails_at_two, range(100), 2)

    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(OSError, match="unreadable"):
        next(results)
    assert len(begun) < 10
