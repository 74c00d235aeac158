"""Alpha and labels of logits, on the CPU: what the graph does when nobody stands between logits and mask.

The same formulas as the exported graph's own outputs (`engines/export/graph.py`): enlarge the margin, then the
sigmoid. The trap: sigmoid first and enlarging afterwards gives another, softer edge.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.motion import Plane, Planes
from engines.spec import OutputSpec

__all__ = ["MaskWriter"]

STEEPEST = 30.0
"""Margins beyond this are 0 or 255 anyway; the exponential stays finite."""


class MaskWriter:
    """Writes the mask planes of one engine; keeps its buffers."""

    def __init__(self, output: OutputSpec) -> None:
        self._output = output
        self._margin: Plane = np.empty((0, 0), np.float32)
        self._best: Plane = np.empty((0, 0), np.float32)

    def alpha(self, logits: Planes, out: NDArray[np.uint8]) -> None:
        """(C, h, w) logits to the subject's (H, W) alpha, 0 to 255, written into `out`."""
        subject = self._output.subject
        assert subject is not None, "an alpha needs a subject"
        self._make_room(out.shape)
        small = np.subtract(logits[subject], _rest(logits, subject))
        margin = _enlarged(small, self._margin)
        np.clip(margin, -STEEPEST, STEEPEST, out=margin)
        # 255 / (1 + exp(-margin)), in place.
        np.negative(margin, out=margin)
        cv2.exp(margin, dst=margin)
        margin += 1.0
        np.divide(255.0, margin, out=margin)
        margin += 0.5
        np.copyto(out, margin, casting="unsafe")

    def labels(self, logits: Planes, out: NDArray[np.uint8]) -> None:
        """(C, h, w) logits to the (H, W) class of each pixel, written into `out`; of equals the first class."""
        self._make_room(out.shape)
        best, plane = self._best, self._margin
        _enlarged(logits[0], best)
        out[...] = 0
        for index, small in enumerate(logits[1:], start=1):
            _enlarged(small, plane)
            out[plane > best] = index
            np.maximum(best, plane, out=best)

    def _make_room(self, shape: tuple[int, ...]) -> None:
        if self._margin.shape != shape:
            self._margin = np.empty(shape, np.float32)
            self._best = np.empty(shape, np.float32)


def _enlarged(small: Plane, out: Plane) -> Plane:
    height, width = out.shape
    cv2.resize(small, (width, height), dst=out, interpolation=cv2.INTER_LINEAR)
    return out


def _rest(logits: Planes, subject: int) -> Plane:
    """(h, w): the logarithm of the sum of the other classes' exponentials."""
    if len(logits) == 2:
        return np.asarray(logits[1 - subject], np.float32)
    others = np.delete(logits, subject, axis=0)
    top = others.max(axis=0)
    return np.asarray(top + np.log(np.exp(others - top).sum(axis=0)), np.float32)
