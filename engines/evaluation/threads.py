"""Work on many pictures by several threads, results in the pictures' order.

Decoding, resizing, inference and counting leave the interpreter's lock, so threads are enough; there is no pickling.
The trap: only a few pictures may be in memory, so new work starts only when a result is taken.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from engines.machine import usable_cores

__all__ = ["in_order", "scoring_threads"]

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2
"""Items in flight beyond one a thread: a slow one does not idle the others."""


def scoring_threads() -> int:
    """Threads that read, infer and score: one may decode while another infers, also on a single core."""
    return max(2, min(8, usable_cores()))


def in_order(work: Callable[[Item], Result], items: Iterable[Item], n_threads: int) -> Iterator[Result]:
    """`map` by threads; `items` is drawn by the caller's thread, at most `n_threads` + 2 ahead.

    The first error of `work` is raised where its result would have come; what was not begun is dropped.
    """
    source = iter(items)
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="score")
    running: deque[Future[Result]] = deque()
    try:
        for item in source:
            running.append(pool.submit(work, item))
            if len(running) >= n_threads + AHEAD:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
