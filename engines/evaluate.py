"""The same scores for a checkpoint, an ONNX file and an engine, by one code path.

Two protocols, always named with a figure:
P1  the checkpoint; longer side 512, padded to a multiple of 32, scored at the mask's own size.
P2  what is served: the graph of one size behind its own resize rule, logits brought back to the mask's own size.
The networks of a checkpoint are in `engines.models.segmenters`; this file works without torch.
The trap: P1 and P2 differ by two to three points on portrait pictures, because a letterboxed portrait uses a
third of a 512x288 input. Never compare across.
"""

import json
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.data.datasets import Pair
from engines.geometry import fit, resize_into
from engines.metrics import Scores, Tally
from engines.runtime import Engine
from engines.spec import INPUT_NAME, LOGITS_STRIDE

__all__ = ["Evaluation", "P2Engine", "Segmenter", "at_input_size", "evaluate", "resized"]


class Segmenter(Protocol):
    """Gives the logits of an image at the image's own size."""

    protocol: str
    classes: tuple[str, ...]

    def logits(self, image_bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(height, width, 3) uint8 -> (height, width, C) float32."""
        ...


@dataclass(frozen=True)
class Evaluation:
    """Scores and what they were measured with."""

    protocol: str
    scores: Scores
    ms_per_image: float
    """Median of resize, network and way back; decoding and scoring left out."""

    def as_json(self) -> dict[str, Any]:
        """Plain values; a class that never occurs is null."""
        scores = self.scores
        return {
            "protocol": self.protocol,
            "miou": _plain(scores.miou),
            "iou": {name: _plain(value) for name, value in scores.iou.items()},
            "pixel_accuracy": _plain(scores.pixel_accuracy),
            "boundary_f": {name: _plain(value) for name, value in scores.boundary_f.items()},
            "mean_boundary_f": _plain(scores.mean_boundary_f),
            "images": scores.n_images,
            "ms_per_image": round(self.ms_per_image, 3),
        }

    def recorded(self, prefix: str) -> dict[str, float]:
        """IoU per class and mIoU as a manifest notes them: `P2/ccp/iou_person`."""
        values = {f"{prefix}/iou_{name}": value for name, value in self.scores.iou.items()}
        values[f"{prefix}/miou"] = self.scores.miou
        values[f"{prefix}/boundary_f"] = self.scores.mean_boundary_f
        return {key: round(value, 4) for key, value in values.items() if not math.isnan(value)}

    def write(self, path: Path, **more: Any) -> None:
        """As a JSON file, with whatever else the caller wants remembered."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**self.as_json(), **more}, indent=2) + "\n", encoding="utf-8")


class P2Engine:
    """An opened engine under P2: a graph or a plan, whatever runs it."""

    protocol = "P2"

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.classes = engine.spec.output.classes
        self._tensor_bgr = np.zeros(engine.spec.input.shape(), np.uint8)
        self._logits = np.zeros(engine.spec.output_shape("logits"), np.float32)

    def logits(self, image_bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Segmenter`."""
        height, width = image_bgr.shape[:2]
        geometry = fit(height, width, self.engine.spec.input)
        resize_into(image_bgr, geometry, self._tensor_bgr[0])
        self.engine.infer({INPUT_NAME: self._tensor_bgr}, {"logits": self._logits})
        full = at_input_size(self._logits[0].transpose(1, 2, 0))
        return resized(np.asarray(geometry.crop(full), np.float32), height, width)


def evaluate(segmenter: Segmenter, pairs: Iterable[Pair]) -> Evaluation:
    """Score a segmenter on pictures with labels.

    Raises:
        ValueError: `pairs` is empty.
    """
    tally = Tally(segmenter.classes)
    times_ms = []
    for pair in pairs:
        start_ns = time.monotonic_ns()
        label_map = segmenter.logits(pair.image_bgr).argmax(axis=2).astype(np.uint8)
        times_ms.append((time.monotonic_ns() - start_ns) / 1e6)
        tally.add(label_map, pair.label_map)
    if not times_ms:
        raise ValueError("there are no pictures to evaluate on")
    return Evaluation(segmenter.protocol, tally.scores(), float(np.median(times_ms)))


def at_input_size(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits (h, w, C) at stride 4 brought to the network's input size."""
    height, width = logits.shape[:2]
    return resized(logits, height * LOGITS_STRIDE, width * LOGITS_STRIDE)


def resized(logits: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """(h, w, C) -> (height, width, C), bilinear with half-pixel centres."""
    if logits.shape[:2] == (height, width):
        return logits
    return np.asarray(
        cv2.resize(np.ascontiguousarray(logits), (width, height), interpolation=cv2.INTER_LINEAR), np.float32
    )


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
