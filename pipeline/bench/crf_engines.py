"""The CRF on what engines say: pictures one by one, and clips whose frames start from the frame before."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from configs import ConfigError
from engines.crf.memory import Memory
from engines.crf.stream import WARM_ITERATIONS, StreamCrf, enlarge_softmax
from engines.runtime import Engine, open_engine
from engines.spec import INPUT_NAME
from pipeline.bench.crf_rows import ITERATIONS, Given, Row, Turns
from pipeline.bench.pictures import pictures_of

__all__ = ["clips_of", "probabilities_of", "video_row"]

Image = NDArray[np.uint8]
VIDEO_SIZE = (640, 360)
LONG = 10
"""Steps that a single frame is given, to be compared with."""


def clips_of(sets: Path) -> list[Path]:
    """The `clips` of a file of sets that are there: in ../shared/data, or in SEGSTREAM_DATA.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        named = yaml.safe_load(sets.read_text())["clips"]
        folder = Path(os.environ.get("SEGSTREAM_DATA", "../shared/data"))
        places = [folder / entry["data"] for entry in named]
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise ConfigError(f"{sets}: no clips ({type(error).__name__}: {error})") from error
    return [place for place in places if place.is_file()]


def probabilities_of(engine: str, pictures: Mapping[str, Image]) -> list[Given]:
    """What an engine says of pictures that are stretched to its size, with its classes' probabilities at that size."""
    with open_engine(engine, outputs=("logits",), n_threads=1) as opened:
        size = (opened.spec.input.width, opened.spec.input.height)
        given = []
        for picture in pictures.values():
            image_bgr = _sized(picture, size)
            logits = _logits(opened, image_bgr)
            probs = np.empty((len(logits), *image_bgr.shape[:2]), np.float32)
            enlarge_softmax(logits, probs)
            given.append((image_bgr, probs))
        return given


def video_row(engine: str, clips: Sequence[Path], preset: str, max_frames: int) -> Row:
    """`fast` as a stream has it, two steps from the frame before, against ten steps on each frame by itself.

    Times are of whole frames that have a past, upsampling and flow included; "reference" is the cold one.
    """
    turns, cold_ms = Turns([], [], []), []
    with open_engine(engine, outputs=("logits",), n_threads=1) as opened:
        size = (opened.spec.input.width, opened.spec.input.height)
        for clip in clips:
            warm, cold = StreamCrf(preset, ITERATIONS, "fast"), StreamCrf(preset, LONG, "fast")
            memory = Memory()
            for sequence, picture in enumerate(pictures_of(str(clip), max_frames)):
                logits = _logits(opened, _sized(picture, size))
                image_bgr = _sized(picture, VIDEO_SIZE)
                began_ns = time.thread_time_ns()
                refined = warm.refine(logits, image_bgr, memory)
                between_ns = time.thread_time_ns()
                said = cold.refine(logits, image_bgr)
                if sequence == 0:
                    continue  # it has no past, and makes what depends on the size
                cold_ms.append((time.thread_time_ns() - between_ns) * 1e-6)
                turns.ms.append((between_ns - began_ns) * 1e-6)
                turns.compare(refined, said)
    work = (
        f"video {VIDEO_SIZE[0]}x{VIDEO_SIZE[1]}, {preset}, {WARM_ITERATIONS} steps; beside it fast, {LONG} steps cold"
    )
    return turns.row(work, "fast", float(np.mean(cold_ms)))


def _sized(picture: Image, size: tuple[int, int]) -> Image:
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _logits(engine: Engine, image_bgr: Image) -> NDArray[np.float32]:
    logits = np.empty(engine.spec.output_shape("logits"), np.float32)
    engine.infer({INPUT_NAME: np.ascontiguousarray(image_bgr)[None]}, {"logits": logits})
    first: NDArray[np.float32] = logits[0]
    return first
