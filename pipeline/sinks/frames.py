"""Every composite as a PNG, named by its sequence number: a gap in the names is a drop.

Each picture is written under another name and then renamed, so that whoever watches the folder never
reads half of one. The trap: PNG at its default compression is slower than the whole stream.
"""

import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.errors import SinkError
from pipeline.frame import StreamFormat
from pipeline.sinks.sink import Announce, PlainSink, Shown, Sink, SinkOptions

__all__ = ["FramesOptions", "FramesSink", "folder_for_pictures"]


class FramesOptions(SinkOptions):
    """Write every frame as a PNG, named by its sequence number."""

    VALUE = "folder"

    folder: str = Field(min_length=1)
    """Where the pictures go; made if it is not there."""
    compression: int = Field(1, ge=0, le=9)
    """PNG's level: 1 is fast, 9 is small."""

    def open(self, format: StreamFormat, *, pacing: str, announce: Announce) -> Sink:
        """Make the folder.

        Raises:
            SinkError: it cannot be made or written to; the message says what would help.
        """
        return FramesSink(folder_for_pictures(self.folder, announce), self.compression)


class FramesSink(PlainSink):
    """Compresses in its own thread."""

    def __init__(self, folder: Path, compression: int) -> None:
        self._folder = folder
        # Setting the level resets the strategy, so it comes first. Measured at 720p, level 1, smooth and noisy picture:
        # 30 and 55 ms by default, 28 and 45 with RLE, 13 and 23 with RLE and the filter UP; no larger either way.
        self._how = [cv2.IMWRITE_PNG_COMPRESSION, compression]
        if compression <= 1:
            self._how += [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
            if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # older OpenCV chooses the filter itself
                self._how += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]

    def accept(self, shown: Shown) -> None:
        self._write(shown.sequence, shown.composite_bgr)

    def _write(self, sequence: int, picture: NDArray[np.uint8]) -> None:
        path = self._folder / f"{sequence:06d}.png"
        unfinished = path.with_suffix(".part")
        _, png = cv2.imencode(".png", picture, self._how)
        try:
            unfinished.write_bytes(png.data)
            unfinished.replace(path)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise SinkError(f"{path}: {error.strerror}; the pictures before it are kept") from error


def folder_for_pictures(text: str, announce: Announce) -> Path:
    """Make the folder, and say what it holds already.

    Raises:
        SinkError: it cannot be made or written to; the message says what would help.
    """
    folder = Path(text).expanduser()
    try:
        folder.mkdir(exist_ok=True)
    except FileExistsError:
        pass  # a file of that name
    except FileNotFoundError:
        raise SinkError(f"{folder}: there is no folder {folder.parent}; make it: mkdir -p {folder}") from None
    except OSError as error:
        raise SinkError(f"{folder}: cannot be made ({error.strerror}); name a folder in one of yours") from error
    if not folder.is_dir():
        raise SinkError(f"{folder}: is a file; name a folder for the pictures")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SinkError(f"{folder}: may not be written to by this user; check: ls -ld {folder}")
    n_there = sum(1 for _ in folder.glob("*.png"))
    if n_there:
        announce(f"{folder}: holds {n_there} pictures already; those of the same number are replaced")
    return folder
