"""Something that moves at a known speed before a still backdrop: what lag is measured on.

A cut-out of a real picture, so that a real engine sees it. The trap: a mover that leaves the picture has no edge to
lag behind there; a run begins and ends half outside, and fast ones are over in a few frames.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.motion import Image

__all__ = ["backdrop", "mover_frames"]

NOISE_SIGMA = 2.0
"""Of the sensor, in levels of 255."""
TALL = 0.85
"""Height of the mover, as a share of the picture's."""


def backdrop(height: int, width: int, seed: int = 1) -> Image:
    """(height, width, 3) of structure of every size, as a room has it."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    sizes = (3, 6, 12, 24, 48)
    for cells in sizes:
        coarse = rng.random((cells, 2 * cells, 3), np.float32)
        picture += np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
    return np.clip((picture / len(sizes) - 0.5) * 400 + 120, 0, 255).astype(np.uint8)


def mover_frames(
    cutout_bgr: Image, alpha: Image, height: int, width: int, *, step_px: float, n_frames: int, seed: int = 0
) -> Iterator[Image]:
    """One pass to the right.

    Args:
        cutout_bgr: (H, W, 3), what moves.
        alpha: (H, W), 255 where it is opaque.
        height: of the picture.
        width: of the picture.
        step_px: pixels of the picture a frame.
        n_frames: at most; fewer when it has left before.
        seed: of the sensor noise.

    Yields:
        (height, width, 3) uint8, fresh arrays.
    """
    rng = np.random.default_rng(seed)
    scale = TALL * height / alpha.shape[0]
    behind = backdrop(height, width).astype(np.float32)
    half = alpha.shape[1] * scale / 2
    n_steps = min(n_frames - 1, int(width / step_px))
    first = width / 2 - step_px * n_steps / 2
    for index in range(n_steps + 1):
        place = np.array([[scale, 0, first + step_px * index - half], [0, scale, (1 - TALL) * height]], np.float32)
        front = np.asarray(cv2.warpAffine(cutout_bgr, place, (width, height)), np.float32)
        share = np.asarray(cv2.warpAffine(alpha, place, (width, height)), np.float32)[..., None] / 255
        noise: NDArray[np.float32] = rng.standard_normal(behind.shape, np.float32) * NOISE_SIGMA
        yield np.clip(behind + (front - behind) * share + noise, 0, 255).astype(np.uint8)
