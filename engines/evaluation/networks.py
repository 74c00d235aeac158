"""Networks as segmenters: a checkpoint under P1, and under P2 without exporting it.

See `engines.evaluation.evaluate` for the two protocols. The trap: several threads ask at once, and one inference uses
all cores, so a network is run by one of them at a time while the others read and score.
"""

import threading

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from engines.evaluation.segmenters import Planes, brought_back
from engines.geometry import Geometry, fit, tensor_of
from engines.models.deeplab import DeepLab
from engines.size import SIDE_MULTIPLE
from engines.spec import InputSpec

__all__ = ["P1_LONGER_SIDE_PX", "P1Network", "P2Network"]

P1_LONGER_SIDE_PX = 512


class P1Network:
    """A network under P1.

    Args:
        longer_side_px: other than 512 only as one of several scales that are averaged.
    """

    protocol = "P1"

    def __init__(self, model: DeepLab, classes: tuple[str, ...], longer_side_px: int = P1_LONGER_SIDE_PX) -> None:
        self.classes = classes
        self.longer_side_px = longer_side_px
        self._network = _OneAtATime(model)

    def logits(self, image_bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Segmenter`; padding is black, below and to the right."""
        height, width = image_bgr.shape[:2]
        scale = self.longer_side_px / max(height, width)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        inside = cv2.resize(image_bgr, inner, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        padded = cv2.copyMakeBorder(
            inside, 0, -inner[1] % SIDE_MULTIPLE, 0, -inner[0] % SIDE_MULTIPLE, cv2.BORDER_CONSTANT
        )
        planes = self._network(np.asarray(padded, np.uint8))
        return brought_back(planes, padded.shape[:2], Geometry(0, 0, *inner), height, width).transpose(1, 2, 0)


class P2Network:
    """A network under P2: what its graph would give at one size, without exporting it."""

    protocol = "P2"

    def __init__(self, model: DeepLab, classes: tuple[str, ...], spec: InputSpec) -> None:
        self.classes = classes
        self.spec = spec
        self._network = _OneAtATime(model)

    def logits(self, image_bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Segmenter`."""
        height, width = image_bgr.shape[:2]
        geometry = fit(height, width, self.spec)
        planes = self._network(tensor_of(image_bgr, self.spec))
        return brought_back(planes, (self.spec.height, self.spec.width), geometry, height, width).transpose(1, 2, 0)


class _OneAtATime:
    def __init__(self, model: DeepLab) -> None:
        self.model = model
        model.eval()
        self._turn = threading.Lock()

    def __call__(self, image_bgr: NDArray[np.uint8]) -> Planes:
        """(H, W, 3) uint8, sides multiples of 32 -> logits (C, H/4, W/4) float32."""
        # inference_mode is a thread's own.
        with self._turn, torch.inference_mode():
            device = next(self.model.parameters(), torch.empty(0)).device
            batch = self.model.normalise(torch.from_numpy(image_bgr)[None].to(device))
            planes: NDArray[np.float32] = self.model(batch)[0].float().contiguous().cpu().numpy()
        return planes
