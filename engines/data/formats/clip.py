"""A video clip as a data set: all background, or unlabelled.

Every frame lies in memory, at most 512 px on the longer side: 0.44 MB a frame of 512x288. `every` thins a long clip.
"""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.data.pairs import Pair
from engines.errors import DataError

__all__ = ["Clip", "clip_frames", "clip_of_background"]

CLIP_LONGER_SIDE_PX = 512


class Clip:
    """A `Dataset` of a clip's frames, every pixel of which has one label.

    Raises:
        DataError: the clip cannot be decoded.
    """

    classes: tuple[str, ...] | None = None

    def __init__(self, path: Path, label: int, every: int = 1) -> None:
        self.label = label
        self.frames = list(clip_frames(path, every))
        self.names = tuple(f"{path.stem}_{index * every:05d}" for index in range(len(self.frames)))

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[Pair]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Pair:
        """One frame with its labels."""
        image_bgr = self.frames[index]
        return Pair(self.names[index], image_bgr, np.full(image_bgr.shape[:2], self.label, np.uint8))


def clip_frames(path: Path, every: int = 1, longer_side_px: int = CLIP_LONGER_SIDE_PX) -> Iterator[NDArray[np.uint8]]:
    """Every n-th frame (height, width, 3) uint8 BGR, never enlarged.

    Raises:
        DataError: the clip cannot be decoded.
    """
    capture = cv2.VideoCapture(str(path))
    try:
        n_read = 0
        while True:
            has_frame, frame = capture.read()
            if not has_frame:
                break
            if n_read % every == 0:
                height, width = frame.shape[:2]
                scale = min(1.0, longer_side_px / max(height, width))
                size = (round(width * scale), round(height * scale))
                yield np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
            n_read += 1
    finally:
        capture.release()
    if n_read == 0:
        raise DataError(f"{path}: no frame could be decoded; expected a video file")


def clip_of_background(path: Path) -> Iterator[Pair]:
    """Frames of a clip that shows nothing but background (class 0), one at a time.

    Raises:
        DataError: the clip cannot be decoded.
    """
    for index, image_bgr in enumerate(clip_frames(path)):
        yield Pair(f"{path.stem}_{index:05d}", image_bgr, np.zeros(image_bgr.shape[:2], np.uint8))
