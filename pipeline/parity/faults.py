"""Faults that are put into the corridor on purpose, to see whether they are caught: each a preprocess gone wrong.

They are made as such mistakes are made, on the picture and before the resize, while the diagnosis works on the
tensor: so a fault that is recognised was not recognised by its own arithmetic.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.geometry import Geometry
from pipeline.frame import Frame
from pipeline.stages.preprocess import Preprocess

__all__ = ["FAULTS", "BgrSwap", "HalfPixel", "LimitedRange"]


class BgrSwap(Preprocess):
    """Takes red for blue, as a decoder that was asked for RGB."""

    def process(self, frame: Frame) -> None:
        """`image_bgr` to `tensor_bgr`, the channels in the wrong order."""
        super().process(frame)
        tensor = frame.plane("tensor_bgr")
        tensor[...] = tensor[..., ::-1].copy()


class LimitedRange(Preprocess):
    """Takes limited range for full, as a decoder that ignores the stream's tag: the picture is washed out."""

    def process(self, frame: Frame) -> None:
        """`image_bgr` to `tensor_bgr` by way of luma 16..235 and chroma 16..240 that are read as 0..255."""
        full = cv2.cvtColor(frame.plane("image_bgr"), cv2.COLOR_BGR2YCrCb).astype(np.float32)
        limited = np.rint(full * (219 / 255, 224 / 255, 224 / 255) + (16, 16, 16)).astype(np.uint8)
        washed_out = cv2.cvtColor(limited, cv2.COLOR_YCrCb2BGR)
        super().process(Frame(frame.ticket, lambda name: washed_out if name == "image_bgr" else frame.plane(name)))


class HalfPixel(Preprocess):
    """Samples the picture half a pixel of the engine's input beside the place, as corner-based coordinates do."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._maps: dict[int, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}

    def process(self, frame: Frame) -> None:
        """`image_bgr` to `tensor_bgr`, bilinear, half a pixel to the right and below."""
        super().process(frame)
        geometry = self._geometry[frame.ticket.stream]
        image_bgr, tensor = frame.plane("image_bgr"), frame.plane("tensor_bgr")
        if frame.ticket.stream not in self._maps:
            self._maps[frame.ticket.stream] = _maps(geometry, *image_bgr.shape[:2])
        x, y = self._maps[frame.ticket.stream]
        inner = cv2.remap(image_bgr, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        geometry.crop(tensor)[...] = inner


def _maps(geometry: Geometry, height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    columns = (np.arange(geometry.width) + 0.5 + 0.5) * width / geometry.width - 0.5
    rows = (np.arange(geometry.height) + 0.5 + 0.5) * height / geometry.height - 0.5
    x, y = np.meshgrid(columns.astype(np.float32), rows.astype(np.float32))
    return x, y


FAULTS: dict[str, str] = {
    "bgr-swap": "pipeline.parity.faults:BgrSwap",
    "limited-range": "pipeline.parity.faults:LimitedRange",
    "half-pixel": "pipeline.parity.faults:HalfPixel",
}
"""Name on the command line to the stage that stands in for preprocess."""
