"""Networks as segmenters: a checkpoint under P1, and under P2 without exporting it.

See `engines.evaluate` for the two protocols.
"""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from engines.evaluate import at_input_size, resized
from engines.geometry import fit, resize_into
from engines.models.deeplab import SIDE_MULTIPLE, normalise
from engines.spec import InputSpec

__all__ = ["P1Network", "P2Network"]

P1_LONGER_SIDE_PX = 512


class P1Network:
    """A network under P1."""

    protocol = "P1"

    def __init__(self, model: nn.Module, classes: tuple[str, ...]) -> None:
        self.model = model.eval()
        self.classes = classes

    def logits(self, image_bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Segmenter`; padding is black, below and to the right."""
        height, width = image_bgr.shape[:2]
        scale = P1_LONGER_SIDE_PX / max(height, width)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        inside = cv2.resize(image_bgr, inner, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        padded = cv2.copyMakeBorder(
            inside, 0, -inner[1] % SIDE_MULTIPLE, 0, -inner[0] % SIDE_MULTIPLE, cv2.BORDER_CONSTANT
        )
        full = at_input_size(_run(self.model, np.asarray(padded, np.uint8)))
        return resized(full[: inner[1], : inner[0]], height, width)


class P2Network:
    """A network under P2: what its graph would give at one size, without exporting it."""

    protocol = "P2"

    def __init__(self, model: nn.Module, classes: tuple[str, ...], spec: InputSpec) -> None:
        self.model = model.eval()
        self.classes = classes
        self.spec = spec
        self._tensor_bgr = np.zeros(spec.shape()[1:], np.uint8)

    def logits(self, image_bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Segmenter`."""
        height, width = image_bgr.shape[:2]
        geometry = fit(height, width, self.spec)
        resize_into(image_bgr, geometry, self._tensor_bgr)
        full = at_input_size(_run(self.model, self._tensor_bgr))
        return resized(np.asarray(geometry.crop(full), np.float32), height, width)


def _run(model: nn.Module, image_bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 3) uint8, sides multiples of 32 -> logits (H/4, W/4, C) float32."""
    with torch.inference_mode():
        logits: torch.Tensor = model(normalise(torch.from_numpy(image_bgr)[None]))
        channels_last: NDArray[np.float32] = logits[0].permute(1, 2, 0).contiguous().numpy()
    return channels_last
