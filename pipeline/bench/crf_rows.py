"""One method of the CRF beside pydensecrf on the same images and probabilities: what it takes, and how near it is."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.crf import PRESETS, open_solver
from engines.metrics.boundary import BOUNDARY_PX, RADII_PX, matched_boundaries

__all__ = ["ITERATIONS", "Given", "Row", "Turns", "rows_of", "table_of"]

Image = NDArray[np.uint8]
ITERATIONS = 5
Given = tuple[Image, NDArray[np.float32]]
"""An image, and the probabilities that are refined."""


@dataclass(frozen=True)
class Row:
    """One method at one work, against pydensecrf in the same run."""

    work: str
    method: str
    ms: float
    reference_ms: float
    ratio: float
    agreement: float
    """Share of equal labels, the mean over the pictures."""
    boundary_f: float
    """Within 2 px, the mean over the pictures."""
    worst: float
    """The smallest share of equal labels."""
    worst_boundary_f: float
    largest_difference: float
    """Of a probability, over all pictures."""


@dataclass
class Turns:
    """The times and answers of one method."""

    ms: list[float]
    agreements: list[float]
    boundary_fs: list[float]
    largest: float = 0.0

    def compare(self, refined: NDArray[np.float32], said: NDArray[np.float32]) -> None:
        """Add one picture's (C, h, w) probabilities and those that they are held against."""
        ours, theirs = refined.argmax(axis=0).astype(np.uint8), said.argmax(axis=0).astype(np.uint8)
        self.agreements.append(float((ours == theirs).mean()))
        counts = matched_boundaries(ours, theirs, len(refined))[RADII_PX.index(BOUNDARY_PX)].sum(axis=0)
        right, drawn, found, true = (int(count) for count in counts)
        precision, recall = right / max(drawn, 1), found / max(true, 1)
        is_bare = not drawn and not true  # nobody draws a contour: that agrees
        self.boundary_fs.append(1.0 if is_bare else 2 * precision * recall / max(precision + recall, 1e-9))
        self.largest = max(self.largest, float(np.abs(refined - said).max()))

    def row(self, work: str, method: str, reference_ms: float) -> Row:
        """All pictures together."""
        ms = statistics.mean(self.ms)
        return Row(
            work, method, ms, reference_ms, reference_ms / ms, statistics.mean(self.agreements),
            statistics.mean(self.boundary_fs), min(self.agreements), min(self.boundary_fs), self.largest,
        )  # fmt: skip


def rows_of(work: str, given: Sequence[Given], preset: str, methods: Sequence[str], rounds: int) -> list[Row]:
    """A row for each method; they take turns on each picture and are compared by the thread's own processor time."""
    reference = open_solver("reference", PRESETS[preset])
    solvers = {method: open_solver(method, PRESETS[preset]) for method in methods}
    turns = {method: Turns([], [], []) for method in methods}
    reference_ms: list[float] = []
    for image_bgr, probs in given:
        for solver in solvers.values():
            solver.mean_field(probs, image_bgr, ITERATIONS)  # compiles, and makes what depends on the size
        times: dict[str, list[float]] = {method: [] for method in ("reference", *methods)}
        said = probs
        for _ in range(rounds):
            ms, said = _timed(reference, probs, image_bgr)
            times["reference"].append(ms)
            for method, solver in solvers.items():
                ms, refined = _timed(solver, probs, image_bgr)
                times[method].append(ms)
                if len(times[method]) == rounds:
                    turn = turns[method]
                    turn.ms.append(statistics.median(times[method]))
                    turn.compare(refined, said)
        reference_ms.append(statistics.median(times["reference"]))
    told = statistics.mean(reference_ms)
    return [turn.row(work, method, told) for method, turn in turns.items()]


def _timed(solver: Any, probs: NDArray[np.float32], image_bgr: Image) -> tuple[float, NDArray[np.float32]]:
    start_ns = time.thread_time_ns()
    refined = solver.mean_field(probs, image_bgr, ITERATIONS)
    return (time.thread_time_ns() - start_ns) * 1e-6, refined


def table_of(rows: Sequence[Row]) -> str:
    """For people."""
    head = f"{'work':64} {'method':7} {'ms':>7} {'pyd ms':>7} {'ratio':>6}"
    lines = [f"{head}  agreement (worst)    boundary F (worst)  max dQ"]
    for row in rows:
        lines.append(
            f"{row.work:64} {row.method:7} {row.ms:7.1f} {row.reference_ms:7.1f} {row.ratio:5.1f}x  "
            f"{row.agreement:8.3%} ({row.worst:8.3%})  {row.boundary_f:.4f} ({row.worst_boundary_f:.4f})  "
            f"{row.largest_difference:.1e}"
        )
    return "\n".join(lines)
