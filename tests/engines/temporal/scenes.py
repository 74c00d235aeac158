"""Pictures with structure of every size, a thing that moves before them, and the logits a network might give."""

from collections.abc import Iterator

import cv2
import numpy as np

HEIGHT, WIDTH = 96, 192


def backdrop(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """(height, width, 3) float32, 0 to 255."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    for cells in (3, 6, 12, 24):
        coarse = rng.random((cells, 2 * cells, 3), np.float32)
        picture += np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32) / 4
    return np.clip((picture - 0.5) * 500 + 128, 0, 255)


def shot(step_px: float, n_frames: int, *, flicker: float = 0.0, seed: int = 0) -> Iterator[tuple]:
    """A disc that moves to the right, as (logits (2, h/4, w/4), tensor_bgr); the logits flicker, the picture has noise.

    Args:
        step_px: pixels of the picture a frame.
        n_frames: how many.
        flicker: standard deviation of the margin between the classes from frame to frame.
        seed: of noise and flicker.
    """
    rng = np.random.default_rng(seed)
    behind, front = backdrop(1), backdrop(2)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    for index in range(n_frames):
        centre = 50 + step_px * index
        inside = 28 - np.hypot(x - centre, y - HEIGHT / 2)
        alpha = np.clip(inside + 0.5, 0, 1)[..., None]
        shifted = cv2.warpAffine(
            front, np.array([[1, 0, centre], [0, 1, 0]], np.float32), (WIDTH, HEIGHT), borderMode=cv2.BORDER_WRAP
        )
        picture = behind * (1 - alpha) + shifted * alpha + rng.normal(0, 2, (HEIGHT, WIDTH, 3))
        margin = np.clip(cv2.resize(inside, (WIDTH // 4, HEIGHT // 4), interpolation=cv2.INTER_AREA), -10, 10)
        margin = margin + rng.normal(0, flicker, margin.shape) if flicker else margin
        logits = np.stack([-margin / 2, margin / 2]).astype(np.float32)
        yield logits, np.clip(picture, 0, 255).astype(np.uint8)
