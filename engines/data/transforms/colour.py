"""Light and colour: saturation or none, gamma, contrast, brightness, white balance."""

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.data.transforms.options import Augment

__all__ = ["coloured"]

Image = NDArray[np.uint8]


def coloured(image_bgr: Image, config: Augment, rng: np.random.Generator) -> Image:
    """Another light on the same things; a fresh array."""
    amount = config.colour
    if rng.random() < config.grey_share:
        grey = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY)
        image_bgr = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)
    elif amount > 0:
        grey = cv2.cvtColor(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        saturation = 1 + rng.uniform(-amount, amount)
        image_bgr = np.asarray(cv2.addWeighted(image_bgr, saturation, grey, 1 - saturation, 0), np.uint8)
    # One table a channel does gamma, contrast, brightness and white balance in one pass.
    ramp = (np.arange(256) / 255.0) ** np.exp(rng.uniform(-amount, amount))
    ramp = (ramp - 0.5) * (1 + rng.uniform(-amount, amount)) + 0.5 + rng.uniform(-amount, amount) / 2
    balance = 1 + rng.uniform(-amount, amount, 3) / 3
    table = np.clip(ramp[:, None] * balance * 255 + 0.5, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image_bgr, table[:, None, :]), np.uint8)
