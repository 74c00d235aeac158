"""Small pictures with unsure probabilities, the same on every machine."""

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["disc", "noise"]


def disc(height: int, width: int, n_classes: int, seed: int = 3) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """A bright disc on a dark ground with a little noise, and probabilities that find it too small and blurred."""
    centre, radius = (width // 2, height // 2), min(height, width) // 3
    image = np.full((height, width, 3), 40, np.uint8)
    cv2.circle(image, centre, radius, (210, 180, 190), -1)
    random = np.random.default_rng(seed)
    image = np.clip(image + random.integers(-6, 7, image.shape), 0, 255).astype(np.uint8)
    scores = random.normal(0, 0.7, (n_classes, height // 4 + 1, width // 4 + 1)).astype(np.float32)
    planes = np.stack([cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) for plane in scores])
    found = np.zeros((height, width), np.float32)
    cv2.circle(found, centre, int(radius * 0.8), 1, -1)
    planes[-1] += 4 * np.asarray(cv2.GaussianBlur(found, (0, 0), 3)) - 1.5
    return _softmax(planes), image


def noise(height: int, width: int, n_classes: int, seed: int = 5) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Nothing but noise: every pixel lies in a simplex of its own."""
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
    return _softmax(random.normal(0, 1, (n_classes, height, width)).astype(np.float32)), image


def _softmax(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    e = np.exp(planes - planes.max(axis=0))
    return np.ascontiguousarray(e / e.sum(axis=0), np.float32)
