"""The same scores for a checkpoint, an ONNX file and an engine, by one code path.

Two protocols, always named with a figure:
P1  the checkpoint; longer side 512, padded to a multiple of 32, scored at the mask's own size.
P2  what is served: the graph of one size behind its own resize rule, logits brought back to the mask's own size.
Both see the whole picture, never a centre crop. Several threads read, infer and count; results are added in order.
The trap: P1 and P2 differ by two to three points on portrait pictures, because a letterboxed portrait uses a
third of a 512x288 input. Never compare across.
"""

import json
import math
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.data.pairs import Pair
from engines.evaluation.segmenters import P2Engine, Segmenter, label_map_of
from engines.evaluation.threads import in_order, scoring_threads
from engines.metrics import Counts, Metric, Scores, Tally, TemporalTally

__all__ = ["STANDARD", "Evaluation", "P2Engine", "Seen", "Segmenter", "evaluate", "readers"]

STANDARD: tuple[Metric, ...] = ("boundary", "trimap", "calibration", "intervals")
"""What is measured unless something else is asked for; `temporal` needs frames in their order."""


@dataclass(frozen=True, eq=False)
class Seen:
    """One picture, just scored: for a progress line, a contact sheet, saved predictions."""

    pair: Pair
    label_map: NDArray[np.uint8]
    """(height, width) as predicted; not written to again."""
    miou: float
    """Of this picture alone; nan when all of it is ignored."""


@dataclass(frozen=True)
class Evaluation:
    """Scores and what they were measured with."""

    protocol: str
    scores: Scores
    ms_per_image: float
    """The whole time over the pictures: reading, resizing, network, way back and counting, beside one another."""

    def as_json(self) -> dict[str, Any]:
        """Plain values; a class that never occurs is null, what was not measured is left out."""
        scores = self.scores
        told: dict[str, Any] = {
            "protocol": self.protocol,
            "miou": scores.miou,
            "iou": scores.iou,
            "pixel_accuracy": scores.pixel_accuracy,
            "false_share": scores.false_share,
            "boundary_f": scores.boundary_f,
            "mean_boundary_f": scores.mean_boundary_f,
            "boundary_f_at_px": {str(radius): value for radius, value in scores.boundary_f_at.items()},
            "trimap_miou_at_px": {str(width): value for width, value in scores.trimap_miou.items()},
            "calibration_error": scores.calibration_error,
            "intervals_95": {name: list(interval) for name, interval in scores.intervals.items()},
            "temporal": None if scores.steadiness is None else asdict(scores.steadiness),
            "confusion": scores.confusion.tolist(),
            "images": scores.n_images,
            "ms_per_image": self.ms_per_image,
        }
        return {key: _plain(value) for key, value in told.items() if value not in (None, {})}

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


def evaluate(
    segmenter: Segmenter,
    pairs: Iterable[Pair],
    *,
    metrics: Collection[Metric] = STANDARD,
    watch: Callable[[Seen], None] | None = None,
    n_threads: int | None = None,
) -> Evaluation:
    """Score a segmenter on pictures with labels.

    Args:
        pairs: a `Dataset` is read by several threads, anything else by the calling one.
        metrics: beside IoU and pixel accuracy; `temporal` takes neighbours as frames of one video.
        watch: told of each picture, in order, by the calling thread.
        n_threads: that read, infer and count at once; None: by the number of cores.

    Raises:
        ValueError: `pairs` is empty.
        DataError: a picture cannot be read.
    """
    tally = Tally(segmenter.classes, metrics)
    temporal = TemporalTally(len(segmenter.classes)) if "temporal" in metrics else None

    def scored(read: Callable[[], Pair]) -> tuple[Seen, Counts]:
        pair = read()
        planes = segmenter.logits(pair.image_bgr).transpose(2, 0, 1)
        label_map = label_map_of(planes)
        counts = tally.count(label_map, pair.label_map, planes)
        return Seen(pair, label_map, counts.miou), counts

    start_s = time.monotonic()
    for seen, counts in in_order(scored, readers(pairs), n_threads or scoring_threads()):
        tally.take(counts)
        if temporal is not None:
            temporal.add(seen.pair.name, seen.pair.image_bgr, seen.label_map, seen.pair.label_map)
        if watch is not None:
            watch(seen)
    if not tally.n_images:
        raise ValueError("there are no pictures to evaluate on")
    ms_per_image = (time.monotonic() - start_s) * 1e3 / tally.n_images
    return Evaluation(
        segmenter.protocol, tally.scores(None if temporal is None else temporal.steadiness()), ms_per_image
    )


def readers(pairs: Iterable[Pair]) -> Iterable[Callable[[], Pair]]:
    """One function a picture that gives it: what can be indexed is read where the function is called."""
    getitem, length = getattr(pairs, "__getitem__", None), getattr(pairs, "__len__", None)
    if getitem is not None and length is not None:
        return (partial(getitem, index) for index in range(length()))
    return (partial(_itself, pair) for pair in pairs)


def _itself(pair: Pair) -> Pair:
    return pair


def _plain(value: Any) -> Any:
    """Numbers with six places, nan as null, all the way down."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value
