"""The matte of one frame: what painters and sinks see of a segmentation.

Engines answer in their own size, with letterbox bars; the matte has the frame's size. It is upsampled
here, once, and only here. The trap: a `Matte` is lent. Its arrays belong to the `MatteUpsampler` and are
overwritten by the next frame, so keep a `copy()` if you keep anything. Alpha and labels are made when first asked for,
of the picture that was given: ask while its slot is yours.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.geometry import Geometry, fit
from engines.spec import EngineSpec
from pipeline.frame import StreamFormat
from pipeline.matte.edges import GuidedEdges
from pipeline.matte.outline import Outline
from pipeline.settings import MatteOptions

__all__ = ["Matte", "MatteUpsampler"]

HALF = 127
"""An alpha above this is the subject when a yes or no is needed."""


@dataclass(slots=True)
class Matte:
    """One frame's segmentation at frame size; valid until the next frame is upsampled."""

    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    """One (R, G, B) a class."""
    subject: int | None
    """The class that `alpha` cuts out; None: everything but class 0."""
    _alpha: NDArray[np.uint8] = field(repr=False)
    _label_map: NDArray[np.uint8] = field(repr=False)
    _fill_alpha: Callable[[], None] | None = field(default=None, repr=False)
    _labels_small: NDArray[np.uint8] | None = field(default=None, repr=False)
    _has_labels: bool = field(default=False, repr=False)

    @property
    def alpha(self) -> NDArray[np.uint8]:
        """(height, width), 0..255: how much of each pixel is the subject."""
        if self._fill_alpha is not None:
            fill, self._fill_alpha = self._fill_alpha, None
            fill()
        return self._alpha

    @property
    def labels(self) -> NDArray[np.uint8]:
        """(height, width) class index a pixel; made when first asked for, so that a blur does not pay for it."""
        if not self._has_labels:
            self._fill_labels()
            self._has_labels = True
        return self._label_map

    @property
    def engine_labels(self) -> NDArray[np.uint8] | None:
        """(h, w) class index at the engine's size, without bars; None when the engine gave an alpha alone."""
        return self._labels_small

    def copy(self) -> "Matte":
        """A deep copy that owns its arrays: to keep, and to use in another thread."""
        return Matte(
            classes=self.classes,
            palette=self.palette,
            subject=self.subject,
            _alpha=self.alpha.copy(),
            _label_map=self._label_map.copy() if self._has_labels else np.empty_like(self._label_map),
            _labels_small=None if self._labels_small is None else self._labels_small.copy(),
            _has_labels=self._has_labels,
        )

    def _fill_labels(self) -> None:
        height, width = self._label_map.shape
        if self._labels_small is not None:
            # Class indices have no in-between. INTER_NEAREST takes the pixel before the nearest one: half a pixel off.
            cv2.resize(self._labels_small, (width, height), dst=self._label_map, interpolation=cv2.INTER_NEAREST_EXACT)
        elif self.subject == 0:
            cv2.threshold(self.alpha, HALF, 1, cv2.THRESH_BINARY_INV, dst=self._label_map)
        else:
            cv2.threshold(self.alpha, HALF, self.subject or 1, cv2.THRESH_BINARY, dst=self._label_map)


class MatteUpsampler:
    """Brings planes of engine size to frame size; every buffer is made here, none per frame."""

    def __init__(self, format: StreamFormat, spec: EngineSpec, options: MatteOptions | None = None) -> None:
        """`options`: None, the defaults."""
        options = options or MatteOptions()
        frame_shape = (format.height, format.width)
        self._spec = spec
        self._geometry: Geometry = fit(format.height, format.width, spec.input)
        self._size = (format.width, format.height)
        inner = (self._geometry.height, self._geometry.width)
        self._inside = np.empty(inner, np.uint8)
        self._guided = GuidedEdges(*frame_shape, *inner) if options.edges != "linear" else None
        self._outline = Outline(options.shrink_px, options.feather_px)
        self._small_alpha = self._inside
        self._image_bgr: NDArray[np.uint8] | None = None
        self._matte = Matte(
            classes=spec.output.classes,
            palette=spec.palette,
            subject=spec.output.subject,
            _alpha=np.zeros(frame_shape, np.uint8),
            _label_map=np.zeros(frame_shape, np.uint8),
        )
        self._labels_small = np.empty(inner, np.uint8)

    def matte(
        self, alpha: NDArray[np.uint8] | None, labels: NDArray[np.uint8] | None, image_bgr: NDArray[np.uint8]
    ) -> Matte:
        """Upsample what the engine gave; bars are cut off first.

        Args:
            alpha: (h, w) uint8 of engine size, or None when the engine has no subject.
            labels: (h, w) uint8 of engine size, or None.
            image_bgr: (height, width, 3), the frame; it is read when the alpha is asked for.

        Returns:
            The same `Matte` every time, filled anew.

        Raises:
            ValueError: neither plane was given, or one has not the engine's size.
        """
        small_labels = None
        if labels is not None:
            # A copy: labels are made lazily, and the slot they came from may be another frame's by then.
            small_labels = self._labels_small
            np.copyto(small_labels, self._inner(labels, "labels"))
        if alpha is not None:
            self._small_alpha = self._inner(alpha, "alpha")
        elif small_labels is not None:
            # Without a subject, whatever is not class 0 stands in front; its edge is softened by the upsampling.
            cv2.threshold(small_labels, 0, 255, cv2.THRESH_BINARY, dst=self._inside)
            self._small_alpha = self._inside
        else:
            raise ValueError(f"{self._spec.label}: a matte needs an alpha or a label map, and got neither")
        self._image_bgr = image_bgr
        matte = self._matte
        matte._fill_alpha = self._fill_alpha
        matte._labels_small = small_labels
        matte._has_labels = False
        return matte

    def _fill_alpha(self) -> None:
        alpha = self._matte._alpha
        if self._guided is None:
            cv2.resize(self._small_alpha, self._size, dst=alpha, interpolation=cv2.INTER_LINEAR)
        else:
            assert self._image_bgr is not None, "matte() comes first"
            self._guided.refine(self._small_alpha, self._image_bgr, alpha)
        self._outline.apply(alpha)

    def _inner(self, plane: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
        expected = (self._spec.input.height, self._spec.input.width)
        if plane.shape != expected:
            raise ValueError(f"{self._spec.label}: {name} has shape {plane.shape}, expected {expected}")
        inner: NDArray[np.uint8] = self._geometry.crop(plane)
        return inner
