"""Where a frame lies inside an engine's input, and the way back.

One rule for training, evaluation and the stream: bilinear, half-pixel centres, no antialias
(`cv2.INTER_LINEAR`, the same as ONNX `half_pixel`). The way back resizes only the part without bars.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.spec import InputSpec, ResizeRule

__all__ = ["Geometry", "fit", "resize_into", "tensor_of"]


@dataclass(frozen=True)
class Geometry:
    """The rectangle of the engine's input that the frame fills, in engine pixels."""

    x: int
    y: int
    width: int
    height: int

    def crop(self, plane: NDArray[Any]) -> NDArray[Any]:
        """The part without bars of a plane (height, width[, C]) of engine size: a view."""
        return plane[self.y : self.y + self.height, self.x : self.x + self.width]


def fit(frame_height: int, frame_width: int, spec: InputSpec) -> Geometry:
    """Place a frame into the engine's input by the engine's resize rule."""
    if spec.resize is ResizeRule.STRETCH:
        return Geometry(0, 0, spec.width, spec.height)
    scale = min(spec.width / frame_width, spec.height / frame_height)
    width = min(spec.width, max(1, round(frame_width * scale)))
    height = min(spec.height, max(1, round(frame_height * scale)))
    return Geometry((spec.width - width) // 2, (spec.height - height) // 2, width, height)


def tensor_of(image_bgr: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.uint8]:
    """A picture (H, W, 3) by the engine's resize rule: a fresh (height, width, 3), bars black.

    A loop over frames keeps a buffer and its `Geometry`, and calls `resize_into`.
    """
    tensor_bgr = np.empty(spec.shape()[1:], np.uint8)
    height, width = image_bgr.shape[:2]
    resize_into(image_bgr, fit(height, width, spec), tensor_bgr)
    return tensor_bgr


def resize_into(image_bgr: NDArray[np.uint8], geometry: Geometry, tensor_bgr: NDArray[np.uint8]) -> None:
    """Write the frame into `tensor_bgr` (height, width, 3), bars black; nothing is allocated without bars."""
    inner = geometry.crop(tensor_bgr)
    if inner.shape != tensor_bgr.shape:
        tensor_bgr[: geometry.y] = 0
        tensor_bgr[geometry.y + geometry.height :] = 0
        tensor_bgr[:, : geometry.x] = 0
        tensor_bgr[:, geometry.x + geometry.width :] = 0
    size = (geometry.width, geometry.height)
    if inner.flags.c_contiguous:
        cv2.resize(image_bgr, size, dst=inner, interpolation=cv2.INTER_LINEAR)
    else:
        # cv2 takes a strided destination of whole rows, but not when the crop narrows the columns of a view
        # it did not make; one small copy is surer than relying on it.
        inner[...] = cv2.resize(image_bgr, size, interpolation=cv2.INTER_LINEAR)
