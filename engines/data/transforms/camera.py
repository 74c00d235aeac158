"""What a camera does: defocus, motion while the shutter is open, a dark room, noise.

The noise is the sensor's: its variance is a constant plus a part that grows with the signal (Foi et al. 2008, eq. 3).
Normal numbers come from one table of fixed seed, entered at a random place: drawing them anew costs more than the
rest of a crop.
"""

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.data.transforms.options import Augment

__all__ = ["motion_blurred", "noisy", "through_camera"]

Image = NDArray[np.uint8]
MIDDLE_GREY = 128.0
COARSE_SHARE = 0.5
"""Noise after demosaicing and in-camera filters is coarser than a pixel."""


def through_camera(image_bgr: Image, config: Augment, rng: np.random.Generator) -> Image:
    """The scene as a cheap camera gives it."""
    if rng.random() < config.blur_share:
        image_bgr = np.asarray(cv2.GaussianBlur(image_bgr, (0, 0), float(rng.uniform(0.4, 1.8))), np.uint8)
    if rng.random() < config.motion_blur_share:
        image_bgr = motion_blurred(image_bgr, rng.uniform(2.0, config.motion_blur_px + 1), rng.uniform(0, np.pi))
    sigma = rng.uniform(0.15, 1.0) * config.noise if rng.random() < config.noise_share else 0.0
    if rng.random() < config.low_light_share:
        image_bgr = _darkened(image_bgr, rng)
        sigma = max(sigma, rng.uniform(0.4, 1.4) * config.noise)
    return noisy(image_bgr, sigma, rng) if sigma > 0 else image_bgr


def motion_blurred(image_bgr: Image, length_px: float, angle: float) -> Image:
    """Averaged along a line of `length_px` at `angle` (radians)."""
    side = int(np.ceil(length_px)) | 1
    kernel = np.zeros((side, side), np.float32)
    middle, half = (side - 1) / 2, (length_px - 1) / 2
    along = np.linspace(-half, half, 4 * side)
    rows = np.clip(np.round(middle + along * np.sin(angle)), 0, side - 1).astype(int)
    columns = np.clip(np.round(middle + along * np.cos(angle)), 0, side - 1).astype(int)
    np.add.at(kernel, (rows, columns), 1)
    return np.asarray(cv2.filter2D(image_bgr, -1, kernel / kernel.sum()), np.uint8)


def noisy(image_bgr: Image, sigma: float, rng: np.random.Generator) -> Image:
    """With sensor noise of standard deviation `sigma` (of 255) at middle grey, less in the dark."""
    height, width = image_bgr.shape[:2]
    if rng.random() < COARSE_SHARE:
        coarse = _normals((height + 1) // 2, (width + 1) // 2, rng)
        noise = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    else:
        noise = _normals(height, width, rng)
    read = rng.uniform(0.2, 0.8)  # of the variance, what is there without any light
    levels = np.arange(256, dtype=np.float32)
    deviation = sigma * np.sqrt(read + (1 - read) * levels / MIDDLE_GREY)
    spread = np.asarray(cv2.LUT(image_bgr, deviation.astype(np.float32)), np.float32)
    # To 8 bits OpenCV rounds and cuts off.
    return np.asarray(cv2.add(cv2.multiply(noise, spread), image_bgr, dtype=cv2.CV_8U), np.uint8)


def _darkened(image_bgr: Image, rng: np.random.Generator) -> Image:
    """A fraction of the light, in part lifted again by gain; blacks stay crushed."""
    light = np.exp(rng.uniform(np.log(0.08), np.log(0.5)))
    linear = (np.arange(256) / 255.0) ** 2.2 * light
    gain = light ** -rng.uniform(0.2, 0.8)
    black = rng.uniform(0.0, 0.02) * light
    table = np.clip(np.clip((linear - black) * gain, 0, 1) ** (1 / 2.2) * 255 + 0.5, 0, 255)
    return np.asarray(cv2.LUT(image_bgr, table.astype(np.uint8)), np.uint8)


def _normals(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(height, width, 3) standard normal numbers: a view of a table, or a fresh array for large pictures."""
    table, n = _table(), height * width * 3
    if n > table.size // 2:
        return rng.standard_normal((height, width, 3), dtype=np.float32)
    start = int(rng.integers(table.size - n))
    return table[start : start + n].reshape(height, width, 3)


@cache
def _table() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(1 << 22, dtype=np.float32)
