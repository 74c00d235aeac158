"""Classes in colour over the picture, and a legend of them.

With an alpha alone its one class is tinted, with the alpha's own soft edge. With a label map every class is:
colours are looked up at the engine's size and enlarged smoothly, which costs less and looks better than
enlarging indices. The trap: a class whose palette colour is black is left clear; palettes mean nothing by it.
"""

from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.effects.composite import Compositor
from pipeline.effects.effect import Effect, Image, Painter
from pipeline.effects.legend import Legend
from pipeline.effects.plain import Nothing
from pipeline.frame import StreamFormat
from pipeline.matte import Matte

__all__ = ["Overlay"]

CLEAR_RGB = (0, 0, 0)


class Overlay(Effect):
    """Tint every class in its colour, and say in a legend which is which."""

    VALUE: ClassVar[str | None] = "opacity"

    opacity: float = Field(0.5, gt=0, le=1)
    """1 paints the colours flat, below 1 the picture shines through."""
    legend: bool = True
    """Whether names and colours of the classes stand in a corner."""

    def open(self, format: StreamFormat) -> Painter:
        return OverlayPainter(format, self.opacity, has_legend=self.legend)

    def with_strength(self, strength: float) -> Effect:
        return Nothing() if strength <= 0 else self.changed(opacity=min(1.0, self.opacity * strength))


class OverlayPainter:
    """Learns the classes from the first matte, and again if they change."""

    def __init__(self, format: StreamFormat, opacity: float, *, has_legend: bool) -> None:
        self._format = format
        self._opacity = opacity
        self._has_legend = has_legend
        self._meaning: tuple[object, ...] = ()
        self._legend: Legend | None = None
        self._tint: _SubjectTint | _LabelTint | None = None

    def paint(self, image_bgr: Image, matte: Matte, pts_ns: int, out: Image) -> None:
        meaning = (matte.classes, matte.palette, matte.subject, matte.engine_labels is None)
        if self._tint is None or meaning != self._meaning:
            self._learn(matte)
            self._meaning = meaning
        assert self._tint is not None, "learned just now"
        self._tint.paint(image_bgr, matte, out)
        if self._legend is not None:
            self._legend.draw(out)

    def _learn(self, matte: Matte) -> None:
        height, width = self._format.height, self._format.width
        has_one_class = matte.engine_labels is None and matte.subject is not None
        if has_one_class:
            subject = matte.subject or 0
            shown = [subject]
            self._tint = _SubjectTint(height, width, matte.palette[subject], self._opacity)
        else:
            shown = [index for index, colour in enumerate(matte.palette) if tuple(colour) != CLEAR_RGB]
            self._tint = _LabelTint(height, width, {index: matte.palette[index] for index in shown}, self._opacity)
        if self._has_legend:
            self._legend = Legend(height, width, [(matte.classes[index], matte.palette[index]) for index in shown])


class _SubjectTint:
    """One class, cut out by the alpha."""

    def __init__(self, height: int, width: int, colour_rgb: tuple[int, int, int], opacity: float) -> None:
        self._colour_bgr = np.full((height, width, 3), colour_rgb[::-1], np.uint8)
        self._opacity = opacity
        self._tinted = np.empty((height, width, 3), np.uint8)
        self._compositor = Compositor(height, width)

    def paint(self, image_bgr: Image, matte: Matte, out: Image) -> None:
        cv2.addWeighted(image_bgr, 1 - self._opacity, self._colour_bgr, self._opacity, 0, dst=self._tinted)
        np.copyto(out, image_bgr)
        self._compositor.over(self._tinted, matte.alpha, out)


class _LabelTint:
    """Every class: `out = image * keep + tint`, both looked up by label and enlarged."""

    def __init__(self, height: int, width: int, colours_rgb: dict[int, tuple[int, int, int]], opacity: float) -> None:
        self._size = (width, height)
        self._tints = np.zeros((256, 1, 3), np.uint8)
        self._keeps = np.full(256, 255, np.uint8)
        for index, colour_rgb in colours_rgb.items():
            self._tints[index, 0] = [round(level * opacity) for level in reversed(colour_rgb)]
            self._keeps[index] = 255 - round(255 * opacity)
        self._tint = np.empty((height, width, 3), np.uint8)
        self._keep = np.empty((height, width), np.uint8)
        self._keep_bgr = np.empty((height, width, 3), np.uint8)
        self._small_tint: Image = np.empty((0, 0, 3), np.uint8)
        self._small_keep: NDArray[np.uint8] = np.empty((0, 0), np.uint8)

    def paint(self, image_bgr: Image, matte: Matte, out: Image) -> None:
        labels = matte.labels if matte.engine_labels is None else matte.engine_labels
        if labels.shape != self._small_keep.shape:
            self._small_tint = np.empty((*labels.shape, 3), np.uint8)
            self._small_keep = np.empty(labels.shape, np.uint8)
        cv2.applyColorMap(labels, self._tints, dst=self._small_tint)
        cv2.LUT(labels, self._keeps, dst=self._small_keep)
        cv2.resize(self._small_tint, self._size, dst=self._tint, interpolation=cv2.INTER_LINEAR)
        cv2.resize(self._small_keep, self._size, dst=self._keep, interpolation=cv2.INTER_LINEAR)
        cv2.cvtColor(self._keep, cv2.COLOR_GRAY2BGR, dst=self._keep_bgr)
        cv2.multiply(image_bgr, self._keep_bgr, dst=out, scale=1 / 255)
        cv2.add(out, self._tint, dst=out)
