"""How far two networks or graphs are from each other, on the same pictures. Works without torch.

Graphs run in ONNX Runtime in float32, where every picture gives the same bytes on every machine. The trap: ONNX
Runtime has no bf16 convolution on a CPU, so bf16 graphs run in OpenVINO, whose kernels round in other places.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engines.errors import ExportError
from engines.manifest import Difference
from engines.runtime import open_engine
from engines.runtime.graph_facts import spec_from_graph
from engines.spec import INPUT_NAME

__all__ = ["Answer", "answers_of_graph", "difference_of", "noise", "stacked"]


class Answer(NamedTuple):
    """What a network says of one batch."""

    logits: NDArray[np.float32]
    """(batch, C, height / 4, width / 4)."""
    labels: NDArray[np.uint8]
    """(batch, height, width)."""


def answers_of_graph(path: Path, batches_bgr: Sequence[NDArray[np.uint8]]) -> list[Answer]:
    """Run a graph on batches (batch, height, width, 3) uint8 of its size."""
    spec = spec_from_graph(path)
    backend = "openvino" if spec.precision == "bf16" else "onnxruntime"
    answers = []
    most = max((len(batch_bgr) for batch_bgr in batches_bgr), default=1)
    outputs = ("logits", "labels")
    with open_engine(spec, backend=backend, outputs=outputs, precision_hint="f32", max_batch=most) as engine:
        for batch_bgr in batches_bgr:
            n = len(batch_bgr)
            answer = Answer(
                np.zeros(spec.output_shape("logits", n), np.float32), np.zeros(spec.output_shape("labels", n), np.uint8)
            )
            engine.infer({INPUT_NAME: batch_bgr}, answer._asdict())
            answers.append(answer)
    return answers


def difference_of(found: Sequence[Answer], expected: Sequence[Answer], *, is_noise: bool) -> Difference:
    """The largest difference of a logit, and the share of pixels with the same label.

    Raises:
        ExportError: a logit is not a number; half precision ends at 65504.
    """
    largest, same, total = 0.0, 0, 0
    for ours, theirs in zip(found, expected, strict=True):
        if not np.isfinite(ours.logits).all():
            raise ExportError("logits that are no numbers: values beyond the precision's range; take bf16 or fp32")
        largest = max(largest, float(np.abs(ours.logits - theirs.logits).max()))
        same += int((ours.labels == theirs.labels).sum())
        total += ours.labels.size
    n_pictures = sum(len(answer.labels) for answer in found)
    return Difference(
        # Four digits, so that a manifest stays readable.
        logits=float(f"{largest:.3e}"),
        labels=round(same / total, 6),
        images=n_pictures,
        on="noise" if is_noise else "pictures",
    )


def stacked(pictures_bgr: Sequence[NDArray[np.uint8]], batch: int) -> list[NDArray[np.uint8]]:
    """Pictures (height, width, 3) as batches of exactly `batch`; the last one is filled up from the beginning."""
    return [
        np.stack([pictures_bgr[(start + place) % len(pictures_bgr)] for place in range(batch)])
        for start in range(0, len(pictures_bgr), batch)
    ]


def noise(height: int, width: int) -> list[NDArray[np.uint8]]:
    """Two pictures of coarse squares, where there are no real ones."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (2, height // 16, width // 16, 3), dtype=np.uint8)
    return [image.repeat(16, 0).repeat(16, 1) for image in coarse]
