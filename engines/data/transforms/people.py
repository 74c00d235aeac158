"""Subjects before other backdrops, and windows without any subject.

The trap: a subject that the picture's border cuts would float with cut-off legs, so only whole ones, or such as the
crop itself cuts, are pasted.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.data import IGNORE
from engines.data.transforms.geometry import Crop
from engines.data.transforms.options import Augment

__all__ = ["pasted", "window_without_subject"]

Image = NDArray[np.uint8]
TRIES = 24
"""Windows looked at; an empty one is found nearly always where there is one of a third of the picture."""
LEAST_WINDOW = 0.2
"""Of the picture's shorter side: smaller windows are blurs."""


def pasted(crop: Crop, behind: Crop, config: Augment, rng: np.random.Generator) -> Crop:
    """The subject of `crop` before `behind`; `crop` itself where it has none, or one that the picture's border cuts.

    The edge is drawn in by a pixel, so that little of the old background comes along, and softened.
    """
    subject = ((crop.label_map > 0) & (crop.label_map != IGNORE)).astype(np.uint8)
    outside = cv2.dilate(1 - crop.inside, np.ones((3, 3), np.uint8))
    if not subject.any() or (subject & outside).any():
        return crop
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    alpha = cv2.erode(subject, cross, borderType=cv2.BORDER_REPLICATE).astype(np.float32)
    if config.paste_feather_px > 0:
        alpha = np.asarray(cv2.GaussianBlur(alpha, (0, 0), config.paste_feather_px), np.float32)
    matched = _matched(crop.image_bgr, behind.image_bgr, subject, rng.uniform(0, config.paste_match))
    mixed = cv2.blendLinear(matched, behind.image_bgr, alpha, 1 - alpha)
    label_map = np.where((alpha >= 0.5) & (subject > 0), crop.label_map, behind.label_map)
    return Crop(np.asarray(mixed, np.uint8), label_map, behind.inside.copy())


def window_without_subject(
    label_map: Image, size: tuple[int, int], rng: np.random.Generator
) -> tuple[int, int, int, int] | None:
    """(left, top, width, height) of a random window of pure class 0 with the crop's proportions; None if none is found.

    Args:
        label_map: (height, width) uint8; 255 counts as a possible subject.
        size: (height, width) of the crop.
    """
    height, width = label_map.shape
    proportion = size[1] / size[0]
    most = min(height, width / proportion)
    sums = cv2.integral((label_map != 0).astype(np.uint8))
    for attempt in range(TRIES):
        # Wide windows first, smaller ones when they do not fit.
        share = rng.uniform(LEAST_WINDOW, 1.0 - (1 - LEAST_WINDOW) * attempt / TRIES)
        tall = max(1, int(most * share))
        wide = min(width, max(1, int(tall * proportion)))
        left, top = int(rng.integers(width - wide + 1)), int(rng.integers(height - tall + 1))
        right, bottom = left + wide, top + tall
        if sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left] == 0:
            return left, top, wide, tall
    return None


def _matched(image_bgr: Image, towards_bgr: Image, subject: Image, strength: float) -> Image:
    """The picture with its subject's mean colour moved towards another picture's, channel by channel."""
    own = np.array(cv2.mean(image_bgr, subject)[:3]) + 1
    other = np.array(cv2.mean(towards_bgr)[:3]) + 1
    gain = np.clip(other / own, 0.4, 2.5) ** strength
    table = np.clip(np.arange(256)[:, None] * gain + 0.5, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image_bgr, table[:, None, :]), np.uint8)
