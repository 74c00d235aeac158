"""Time on a GPU: CUDA events, warm, a median; and the same without the cost of launching, by a CUDA graph.

The trap: a kernel of ten microseconds takes longer to launch than to run. `launched_ms` is what a caller sees who
launches one after the other, `ms` what the GPU works.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch

__all__ = ["Time", "graphed", "launched"]

WARM_UP = 10
REPEATS = 100
IN_A_GRAPH = 20
"""Launches of a short kernel that are captured as one graph."""


@dataclass(frozen=True)
class Time:
    """Of one call, in ms."""

    median: float
    p95: float


def launched(run: Callable[[], object], repeats: int = REPEATS) -> Time:
    """One pair of events around each call."""
    for _ in range(WARM_UP):
        run()
    torch.cuda.synchronize()
    pairs = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
    for start, end in pairs:
        start.record()
        run()
        end.record()
    torch.cuda.synchronize()
    return _time([start.elapsed_time(end) for start, end in pairs])


def graphed(run: Callable[[], object], calls: int = IN_A_GRAPH, repeats: int = REPEATS) -> Time:
    """So many calls captured as one CUDA graph and replayed; of one call."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            run()
    whole = launched(graph.replay, repeats)
    return Time(whole.median / calls, whole.p95 / calls)


def _time(all_ms: list[float]) -> Time:
    ordered = sorted(all_ms)
    return Time(statistics.median(ordered), ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))])
