"""Label maps for the eye: the image with its classes in colour.

For looking at results of `predict`; the stream's own `overlay` effect is a painter of the pipeline.
"""

import numpy as np
from numpy.typing import NDArray

from engines.spec import EngineSpec

__all__ = ["overlay"]

STRENGTH = 0.5


def overlay(image_bgr: NDArray[np.uint8], labels: NDArray[np.uint8], spec: EngineSpec) -> NDArray[np.uint8]:
    """Blend the palette over the image, the first class left as it is.

    Args:
        image_bgr: (H, W, 3) uint8.
        labels: (H, W) uint8, values below the number of classes.

    Returns:
        (H, W, 3) uint8 BGR, a fresh array.
    """
    palette_bgr = np.array(spec.palette, np.float32)[:, ::-1]
    strength = np.full((len(palette_bgr), 1), STRENGTH, np.float32)
    strength[0] = 0
    mixed = image_bgr * (1 - strength[labels]) + palette_bgr[labels] * strength[labels]
    return np.asarray(mixed + 0.5, np.uint8)
