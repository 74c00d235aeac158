"""The toy's shapes in motion: a clip to try a toy engine on, with the labels of every frame.

Look and classes are those of `engines.data.formats.shapes`; each shape glides, bounces off the edges and turns. A
frame depends on its number alone. The trap: the last shape lies on top, in the picture and in the labels.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.data.formats.shapes import outline, textured
from engines.data.known import SHAPES
from engines.errors import DataError

__all__ = ["MovingShapes", "write_clip"]

GROUND_RGB, SHAPES_RGB = (112, 108, 104), ((215, 190, 60), (180, 80, 190), (60, 190, 210), (220, 110, 90))
"""Unlike the colours of the toy's palette, so that an overlay is seen as one."""
RADIUS = 0.2
"""Of the height."""


class MovingShapes:
    """One shape of each class but the background.

    Raises:
        DataError: more classes than there are shapes.
    """

    def __init__(self, n_classes: int, width: int = 640, height: int = 360, seed: int = 0) -> None:
        if not 2 <= n_classes <= len(SHAPES.names):
            raise DataError(f"{n_classes} classes of shapes; there are 2 to {len(SHAPES.names)}: {list(SHAPES.names)}")
        self.names = SHAPES.names[1:n_classes]
        self.width, self.height = width, height
        rng = np.random.default_rng(seed)
        colours = [GROUND_RGB, *SHAPES_RGB[: len(self.names)]]
        self._textures = [textured(rng, height, width, np.array(colour[::-1], np.float64)) for colour in colours]
        # Far from one another, so that the first frames show each of them whole.
        places = np.arange(len(self.names))
        self._starts = np.stack([0.1 + 0.8 * places, 0.3 + 0.45 * places], axis=1)
        self._speeds = rng.uniform(0.006, 0.014, (len(self.names), 2))
        """Of the free way across, a frame."""

    def frame(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """(height, width, 3) uint8 BGR and its labels (height, width) uint8."""
        image = self._textures[0]
        label_map = np.zeros((self.height, self.width), np.uint8)
        radius = RADIUS * self.height
        free = np.array([self.width, self.height]) - 2 * radius
        for index, name in enumerate(self.names):
            way = (self._starts[index] + number * self._speeds[index]) % 2
            centre = radius + free * np.minimum(way, 2 - way)
            inside = outline(name, centre, radius, 0.02 * number, self.height, self.width)
            image = np.where(inside[..., None], self._textures[index + 1], image)
            label_map[inside] = index + 1
        return np.clip(cv2.GaussianBlur(image, (0, 0), 0.7) + 0.5, 0, 255).astype(np.uint8), label_map


def write_clip(path: Path, shapes: MovingShapes, n_frames: int, rate_hz: float = 30.0) -> None:
    """Frames 0 to n - 1 as a video file.

    Raises:
        DataError: it cannot be written there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    size = (shapes.width, shapes.height)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate_hz, size)
    if not writer.isOpened():
        raise DataError(f"{path}: cannot be written as a video; name a .mp4 in a folder you may write to")
    try:
        for number in range(n_frames):
            writer.write(shapes.frame(number)[0])
    finally:
        writer.release()
