"""The pictures of a source one after the other, for benches that need no workers."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.sources import source_from_uri

__all__ = ["pictures_of"]


def pictures_of(uri: str, max_frames: int) -> Iterator[NDArray[np.uint8]]:
    """(h, w, 3) BGR, each a fresh array, at most so many.

    Raises:
        SourceError: it cannot be opened or read.
    """
    source = source_from_uri(uri).open()
    try:
        for _ in range(max_frames):
            grabbed = source.grab()
            if grabbed is None:
                return
            picture_bgr = np.empty((source.format.height, source.format.width, 3), np.uint8)
            grabbed.copy_into(picture_bgr)
            yield picture_bgr
    finally:
        source.close()
