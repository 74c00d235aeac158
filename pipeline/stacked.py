"""Frames of several streams side by side in memory, so that an engine takes them in one call.

Slots of different streams lie in different pools: a batch is copied together and apart again, once each way. The
buffers are made when an engine that takes batches is first used, and then reused; nothing is allocated for a frame.
"""

from collections.abc import Sequence

import numpy as np

from engines.runtime import Array, Engine
from engines.spec import INPUT_NAME
from pipeline.frame import Frame

__all__ = ["Stacked"]


class Stacked:
    """The input and the outputs of one engine, for up to `max_batch` frames."""

    def __init__(self, engine: Engine, outputs: Sequence[str]) -> None:
        spec, n = engine.spec, engine.max_batch
        self._engine = engine
        self._image_bgr = np.empty(spec.input.shape(n), np.uint8)
        self._outputs: dict[str, Array] = {
            name: np.empty(spec.output_shape(name, n), spec.output_dtype(name)) for name in outputs
        }

    def infer(self, frames: Sequence[Frame]) -> None:
        """One call for all frames, at most `max_batch`: from their `tensor_bgr` to the planes of the outputs."""
        n = len(frames)
        for place, frame in zip(self._image_bgr, frames, strict=False):
            np.copyto(place, frame.plane("tensor_bgr"))
        outputs = {name: whole[:n] for name, whole in self._outputs.items()}
        self._engine.infer({INPUT_NAME: self._image_bgr[:n]}, outputs)
        for name, answers in outputs.items():
            for answer, frame in zip(answers, frames, strict=True):
                np.copyto(frame.plane(name), answer)
