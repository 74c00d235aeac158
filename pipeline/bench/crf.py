"""How fast is the dense CRF, and how near to pydensecrf? One core, side by side, on the same pictures.

Each picture gets a rough guess of its classes (`guesses.py`); "hard" is the guess of which the CRF changes most.
Beside them stand an engine's own probabilities, and clips. The trap: agreement with pydensecrf is
not quality. What a CRF gains is asked of labelled sets: `python -m engines evaluate --crf`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from configs import ConfigError
from engines.machine import machine_facts
from pipeline.bench.crf_engines import clips_of, probabilities_of, video_row
from pipeline.bench.crf_goals import goal_of, missed
from pipeline.bench.crf_rows import ITERATIONS, Given, Row, rows_of, table_of
from pipeline.bench.guesses import of_an_object, of_colours

__all__ = ["Work", "bench_crf", "photographs"]

Image = NDArray[np.uint8]
SIZE = (640, 360)
"""(width, height): a stream's engine is about as large."""
MANY_SIZE = (512, 512)
N_MANY = 21
NOISE = 6.0
"""Standard deviation of the sensor noise that is reported beside the clean picture."""
METHODS = ("fast", "exact")


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

    def given(self, pictures: Mapping[str, Image]) -> list[Given]:
        """The images and the probabilities."""
        return [self._given(picture) for picture in pictures.values()]

    def _given(self, picture: Image) -> Given:
        image_bgr = np.asarray(cv2.resize(picture, self.size, interpolation=cv2.INTER_AREA), np.uint8)
        probs = of_colours(image_bgr, self.n_classes) if self.is_hard else of_an_object(image_bgr)
        if self.noise:
            grain = np.random.default_rng(1).normal(0, self.noise, image_bgr.shape)
            image_bgr = np.clip(image_bgr + grain, 0, 255).astype(np.uint8)
        return np.ascontiguousarray(image_bgr), probs


def bench_crf(
    sets: Path, rounds: int, *, engine: str = "person", many: str | None = None, max_frames: int = 60
) -> tuple[dict[str, Any], str]:
    """Measure every method that we compiled against pydensecrf.

    Args:
        sets: a file like tests/data/sets.yaml.
        rounds: turns of each method on each picture.
        engine: whose masks of the clips are refined, those of the file of sets that are there.
        many: an engine of many classes, whose probabilities of the pictures are refined; None: without such a row.
        max_frames: of each clip.

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
        for work in (
            Work(2, SIZE, preset), Work(2, SIZE, preset, noise=NOISE), Work(2, SIZE, preset, is_hard=True),
        ):  # fmt: skip
            rows += rows_of(work.name, work.given(pictures), preset, METHODS, rounds)
    work = Work(N_MANY, MANY_SIZE, "crf-readme", is_hard=True)
    rows += rows_of(work.name, work.given(pictures), work.preset, METHODS, rounds)
    if many is not None:
        given = probabilities_of(many, pictures)
        work_name = f"{len(given[0][1])} classes of {Path(many).stem}, {ITERATIONS} iterations, crf-readme"
        rows += rows_of(work_name, given, "crf-readme", METHODS, rounds)
    clips = clips_of(sets)
    for preset in ("crf-readme", "deeplab") if clips else ():
        rows.append(video_row(engine, clips, preset, max_frames))
    figures = {"machine": machine_facts(), "rounds": rounds, "rows": [_as_json(row) for row in rows]}
    return figures, "\n".join([table_of(rows), *_verdicts(rows)])


def _as_json(row: Row) -> dict[str, Any]:
    goal = goal_of(row)
    bounds = {} if goal is None else {"at_least": goal.at_least, "at_most": goal.at_most, "missed": missed(row)}
    return {**asdict(row), **bounds}


def _verdicts(rows: list[Row]) -> list[str]:
    told = ["", "goals:"]
    for row in rows:
        if goal_of(row) is not None:
            told.append(f"{row.work}, {row.method}: {'; '.join(missed(row)) or 'met'}")
    return told


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
