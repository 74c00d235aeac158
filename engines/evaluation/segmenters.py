"""What gives logits for a picture of any size: an engine, an average over scales and flips, a CRF on top.

Works without torch; the networks of a checkpoint are in `engines.evaluation.networks`. Inside, logits are planes
(C, height, width), which resize and compare fast; outside they are a view (height, width, C) of them.
The trap: several threads ask one segmenter at once, so buffers belong to threads.
"""

import threading
from collections.abc import Sequence
from functools import partial
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.geometry import Geometry, fit, resize_into
from engines.manifest import CrfSetting
from engines.runtime import Engine
from engines.spec import INPUT_NAME

__all__ = [
    "Averaged",
    "P2Engine",
    "Planes",
    "Refined",
    "Segmenter",
    "StreamRefined",
    "brought_back",
    "label_map_of",
    "softmax",
]

Image = NDArray[np.uint8]
Planes = NDArray[np.float32]
"""(C, height, width)."""

SMALLEST = 1e-8
"""Probabilities are raised to this before the logarithm."""


class Segmenter(Protocol):
    """Gives the logits of an image at the image's own size."""

    protocol: str
    classes: tuple[str, ...]

    def logits(self, image_bgr: Image) -> NDArray[np.float32]:
        """(height, width, 3) uint8 -> (height, width, C) float32; may be called by several threads at once."""
        ...


class P2Engine:
    """An opened engine under P2: a graph or a plan, whatever runs it."""

    protocol = "P2"

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.classes = engine.spec.output.classes
        self._own = threading.local()

    def logits(self, image_bgr: Image) -> NDArray[np.float32]:
        """See `Segmenter`; a fresh array."""
        spec = self.engine.spec
        if not hasattr(self._own, "logits"):
            # A graph for several pictures at once gets one and black ones beside it.
            self._own.tensor_bgr = np.zeros(spec.input.shape(spec.batch), np.uint8)
            self._own.logits = np.zeros(spec.output_shape("logits"), np.float32)
        height, width = image_bgr.shape[:2]
        geometry = fit(height, width, spec.input)
        resize_into(image_bgr, geometry, self._own.tensor_bgr[0])
        self.engine.infer({INPUT_NAME: self._own.tensor_bgr}, {"logits": self._own.logits})
        input_size = (spec.input.height, spec.input.width)
        values = self._refined(self._own.logits[0], self._own.tensor_bgr[0])
        return brought_back(values, input_size, geometry, height, width).transpose(1, 2, 0)

    def _refined(self, logits: Planes, tensor_bgr: Image) -> Planes:
        """What comes between the network and the way back: nothing."""
        del tensor_bgr
        return logits


class StreamRefined(P2Engine):
    """An opened engine with the dense CRF at the engine's own size, as `--crf auto` runs it in a stream.

    Raises:
        BackendUnavailable: what the method needs is not installed.
    """

    def __init__(self, engine: Engine, setting: CrfSetting) -> None:
        super().__init__(engine)
        self._setting = setting
        self.protocol = "P2 CRF(auto)"

    def logits(self, image_bgr: Image) -> NDArray[np.float32]:
        """See `Segmenter`: logarithms of the refined probabilities."""
        probs = super().logits(image_bgr)
        return np.log(np.maximum(probs, SMALLEST))

    def _refined(self, logits: Planes, tensor_bgr: Image) -> Planes:
        from engines.crf.stream import StreamCrf

        if not hasattr(self._own, "crf"):
            self._own.crf = StreamCrf(self._setting.params, self._setting.iterations, self._setting.method)
        refined: Planes = self._own.crf.refine(logits, tensor_bgr)
        return refined


class Averaged:
    """The mean of probabilities over several segmenters, and over each of them mirrored.

    Multi-scale inputs with flips, as in Chen et al. 2017 (v3), section 4.1.
    """

    def __init__(self, segmenters: Sequence[Segmenter], flips: bool, named: str) -> None:
        self.segmenters = segmenters
        self.flips = flips
        self.classes = segmenters[0].classes
        self.protocol = f"{segmenters[0].protocol} {named}"

    def logits(self, image_bgr: Image) -> NDArray[np.float32]:
        """See `Segmenter`: logarithms of the mean probabilities."""
        mirrored = np.ascontiguousarray(image_bgr[:, ::-1])
        total = np.zeros((len(self.classes), *image_bgr.shape[:2]), np.float32)
        for segmenter in self.segmenters:
            total += softmax(segmenter.logits(image_bgr).transpose(2, 0, 1))
            if self.flips:
                total += softmax(segmenter.logits(mirrored).transpose(2, 0, 1))[:, :, ::-1]
        total /= len(self.segmenters) * (2 if self.flips else 1)
        return np.log(np.maximum(total, SMALLEST)).transpose(1, 2, 0)


class Refined:
    """A segmenter whose probabilities go through the dense CRF at the picture's own size, as in the papers.

    Raises:
        BackendUnavailable: what the method needs is not installed.
        EngineError: no such preset or method.
    """

    def __init__(self, segmenter: Segmenter, preset: str, iterations: int = 10, method: str = "exact") -> None:
        from engines.crf import open_solver

        self._open = partial(open_solver, method, preset)
        self._open()
        # A solver keeps its memory from picture to picture, so each of the threads that score has its own.
        self._solvers = threading.local()
        self.segmenter = segmenter
        self.iterations = iterations
        self.classes = segmenter.classes
        self.protocol = f"{segmenter.protocol} CRF({preset})"

    def logits(self, image_bgr: Image) -> NDArray[np.float32]:
        """See `Segmenter`: logarithms of the refined probabilities."""
        probs = softmax(self.segmenter.logits(image_bgr).transpose(2, 0, 1))
        if not hasattr(self._solvers, "own"):
            self._solvers.own = self._open()
        refined = self._solvers.own.mean_field(probs, image_bgr, self.iterations)
        logs: NDArray[np.float32] = np.log(np.maximum(refined, SMALLEST)).transpose(1, 2, 0)
        return logs


def brought_back(logits: Planes, input_size: tuple[int, int], geometry: Geometry, height: int, width: int) -> Planes:
    """Logits (C, h/4, w/4) of an input (height, width) -> (C, height, width) of the frame, without bars; fresh."""
    out = np.empty((len(logits), height, width), np.float32)
    for plane, small in zip(out, logits, strict=True):
        inner = np.ascontiguousarray(geometry.crop(resized(small, *input_size)))
        if inner.shape == plane.shape:
            plane[...] = inner
        else:
            cv2.resize(inner, (width, height), dst=plane, interpolation=cv2.INTER_LINEAR)
    return out


def resized(plane: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """(h, w) -> (height, width), bilinear with half-pixel centres."""
    return np.asarray(cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def label_map_of(planes: Planes) -> NDArray[np.uint8]:
    """The class with the largest logit, the first of equal ones: (C, h, w) -> (h, w) uint8.

    Plane by plane: `argmax` over a short last dimension takes ten times as long.
    """
    if len(planes) == 2:
        return np.asarray(planes[1] > planes[0]).view(np.uint8)
    best = planes[0].copy()
    labels = np.zeros(best.shape, np.uint8)
    for index, plane in enumerate(planes[1:], start=1):
        is_better = np.asarray(plane > best)
        # The index grows, so it outdoes whatever was there.
        np.maximum(labels, is_better.view(np.uint8) * np.uint8(index), out=labels)
        np.maximum(best, plane, out=best)
    return labels


def softmax(planes: Planes) -> Planes:
    """Probabilities over the first dimension; a fresh array."""
    probs = np.exp(planes - planes.max(axis=0))
    probs /= probs.sum(axis=0)
    return np.ascontiguousarray(probs)
