"""How fast is the dense CRF, and how near to pydensecrf? One core, side by side, on the same pictures.

Each picture gets a rough guess of its classes (`guesses.py`); "hard" is the guess of which the CRF changes most.
The methods take turns on it and are compared by the thread's own processor time. The trap: agreement with pydensecrf is
not quality. What a CRF gains is asked of labelled sets: `python -m engines evaluate --crf`.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from configs import ConfigError
from engines.crf import PRESETS, open_solver
from engines.machine import machine_facts
from engines.metrics.boundary import BOUNDARY_PX, RADII_PX, matched_boundaries
from pipeline.bench.guesses import of_an_object, of_colours

__all__ = ["GOALS", "Row", "Work", "bench_crf", "photographs"]

Image = NDArray[np.uint8]
SIZE = (640, 360)
"""(width, height): a stream's engine is about as large."""
MANY_SIZE = (512, 512)
ITERATIONS = 5
N_MANY = 21
NOISE = 6.0
"""Standard deviation of the sensor noise that is reported beside the clean picture."""
GOALS: Mapping[str, Mapping[str, float]] = {
    "2 classes, crf-readme, fast": {"ratio": 10, "agreement": 0.999, "worst": 0.998, "boundary_f": 0.99},
    "2 classes, crf-readme, exact": {"ratio": 3, "agreement": 0.9999, "worst": 0.9999, "boundary_f": 0.99},
    "2 classes, deeplab, fast": {"ratio": 8, "agreement": 0.9985, "boundary_f": 0.99},
    "21 classes, crf-readme, exact": {"ratio": 2, "agreement": 0.9999},
}


@dataclass(frozen=True)
class Work:
    """What all methods are given."""

    n_classes: int
    size: tuple[int, int]
    preset: str
    noise: float = 0.0
    """Standard deviation of what is added to the picture, in levels."""
    is_hard: bool = False
    """The guess is unsure everywhere, not at the outline alone; so is every guess of more than two classes."""

    @property
    def name(self) -> str:
        """As it stands in the table."""
        name = f"{self.n_classes} classes, {self.size[0]}x{self.size[1]}, {ITERATIONS} iterations, {self.preset}"
        name += f", noise {self.noise:g}" if self.noise else ""
        return name + (", hard" if self.is_hard else "")

    def given(self, picture: Image) -> tuple[Image, NDArray[np.float32]]:
        """The image and the probabilities."""
        image_bgr = np.asarray(cv2.resize(picture, self.size, interpolation=cv2.INTER_AREA), np.uint8)
        probs = of_colours(image_bgr, self.n_classes) if self.is_hard else of_an_object(image_bgr)
        if self.noise:
            grain = np.random.default_rng(1).normal(0, self.noise, image_bgr.shape)
            image_bgr = np.clip(image_bgr + grain, 0, 255).astype(np.uint8)
        return np.ascontiguousarray(image_bgr), probs


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


def bench_crf(sets: Path, rounds: int) -> tuple[dict[str, Any], str]:
    """Measure every method that we compiled against pydensecrf.

    Args:
        sets: a file like tests/data/sets.yaml.
        rounds: turns of each method on each picture.

    Returns:
        The figures, and a table for people.

    Raises:
        ConfigError: no pictures.
        BackendUnavailable: numba or pydensecrf is not installed.
    """
    cv2.setNumThreads(1)
    pictures = photographs(sets)
    rows: list[Row] = []
    for preset in ("crf-readme", "deeplab"):
        rows += _rows(pictures, Work(2, SIZE, preset), ("fast", "exact"), rounds)
        rows += _rows(pictures, Work(2, SIZE, preset, noise=NOISE), ("fast", "exact"), rounds)
        rows += _rows(pictures, Work(2, SIZE, preset, is_hard=True), ("fast", "exact"), rounds)
    rows += _rows(pictures, Work(N_MANY, MANY_SIZE, "crf-readme", is_hard=True), ("exact", "fast"), rounds)
    figures = {"machine": machine_facts(), "rounds": rounds, "goals": GOALS, "rows": [asdict(row) for row in rows]}
    return figures, _table(rows)


def photographs(sets: Path) -> dict[str, Image]:
    """The `photographs` of a file of sets, BGR, by name.

    Raises:
        ConfigError: the file cannot be read, or scikit-image is not installed.
    """
    try:
        named = yaml.safe_load(sets.read_text())["photographs"]
        from skimage import data
    except (OSError, KeyError, TypeError, yaml.YAMLError, ImportError) as error:
        raise ConfigError(
            f"{sets}: no photographs ({type(error).__name__}: {error}); run this in a checkout, with "
            "scikit-image installed"
        ) from error
    return {entry["name"]: np.ascontiguousarray(getattr(data, entry["skimage"])()[..., 2::-1]) for entry in named}


@dataclass
class _Turns:
    """The times and answers of one method."""

    ms: list[float]
    agreements: list[float]
    boundary_fs: list[float]
    largest: float = 0.0


def _rows(pictures: Mapping[str, Image], work: Work, methods: Sequence[str], rounds: int) -> list[Row]:
    reference = open_solver("reference", PRESETS[work.preset])
    solvers = {method: open_solver(method, PRESETS[work.preset]) for method in methods}
    turns = {method: _Turns([], [], []) for method in methods}
    reference_ms: list[float] = []
    for picture in pictures.values():
        image_bgr, probs = work.given(picture)
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
                    _compare(turn, refined, said)
        reference_ms.append(statistics.median(times["reference"]))
    told = statistics.mean(reference_ms)
    return [
        Row(
            work.name, method, statistics.mean(turn.ms), told, told / statistics.mean(turn.ms),
            statistics.mean(turn.agreements), statistics.mean(turn.boundary_fs), min(turn.agreements),
            min(turn.boundary_fs), turn.largest,
        )
        for method, turn in turns.items()
    ]  # fmt: skip


def _timed(solver: Any, probs: NDArray[np.float32], image_bgr: Image) -> tuple[float, NDArray[np.float32]]:
    start_ns = time.thread_time_ns()
    refined = solver.mean_field(probs, image_bgr, ITERATIONS)
    return (time.thread_time_ns() - start_ns) * 1e-6, refined


def _compare(turn: _Turns, refined: NDArray[np.float32], said: NDArray[np.float32]) -> None:
    ours, theirs = refined.argmax(axis=0).astype(np.uint8), said.argmax(axis=0).astype(np.uint8)
    turn.agreements.append(float((ours == theirs).mean()))
    counts = matched_boundaries(ours, theirs, len(refined))[RADII_PX.index(BOUNDARY_PX)].sum(axis=0)
    right, drawn, found, true = (int(count) for count in counts)
    precision, recall = right / max(drawn, 1), found / max(true, 1)
    turn.boundary_fs.append(2 * precision * recall / max(precision + recall, 1e-9))
    turn.largest = max(turn.largest, float(np.abs(refined - said).max()))


def _table(rows: Sequence[Row]) -> str:
    head = f"{'work':58} {'method':7} {'ms':>7} {'pyd ms':>7} {'ratio':>6}"
    lines = [f"{head}  agreement (worst)    boundary F (worst)  max dQ"]
    for row in rows:
        lines.append(
            f"{row.work:58} {row.method:7} {row.ms:7.1f} {row.reference_ms:7.1f} {row.ratio:5.1f}x  "
            f"{row.agreement:8.3%} ({row.worst:8.3%})  {row.boundary_f:.4f} ({row.worst_boundary_f:.4f})  "
            f"{row.largest_difference:.1e}"
        )
    return "\n".join(lines)
