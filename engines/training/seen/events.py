"""TensorBoard's event file, written by the caller's own thread.

`SummaryWriter` writes from a thread of its own: with a full disk that thread dies with a traceback on the terminal, and
the training gets its error at some later call. Here a write that fails raises where it was asked for. The trap: half a
record ends the file for every reader, so a file that failed once is closed, and what comes later goes into a new one.
"""

import os
import socket
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from engines.errors import BackendUnavailable

if TYPE_CHECKING:
    import numpy as np

__all__ = ["EventFile"]

VERSION = "brain.Event:2"


class EventFile:
    """One file of events in `folder`.

    Args:
        purge_step: steps from here on, in older files of the folder, are hidden; None hides none.

    Raises:
        BackendUnavailable: tensorboard is not installed.
        OSError: the file cannot be written; so do all methods but `close`.
    """

    def __init__(self, folder: Path, purge_step: int | None = None) -> None:
        try:
            from tensorboard.compat.proto.event_pb2 import Event, SessionLog
            from tensorboard.summary.writer.record_writer import RecordWriter
            from torch.utils.tensorboard import summary
        except ImportError as error:
            raise BackendUnavailable("tensorboard is not installed; pip install 'segstream[train]'") from error
        self._event: Any = Event
        self._summary: Any = summary
        folder.mkdir(parents=True, exist_ok=True)
        # Readers take the files in the order of their names.
        name = f"events.out.tfevents.{time.time_ns() // 1000:016d}.{socket.gethostname()}.{os.getpid()}"
        self._file: IO[bytes] = (folder / name).open("wb", buffering=0)
        self._records = RecordWriter(self)
        self._add(file_version=VERSION)
        if purge_step is not None:
            self._add(step=purge_step, session_log=SessionLog(status=SessionLog.START))

    def scalar(self, tag: str, value: float, step: int) -> None:
        """A point of the curve `tag`."""
        self._add(step=step, summary=self._summary.scalar(tag, value))

    def image(self, tag: str, image_rgb: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]", step: int) -> None:
        """A picture (height, width, 3)."""
        self._add(step=step, summary=self._summary.image(tag, image_rgb, dataformats="HWC"))

    def text(self, tag: str, markdown: str, step: int) -> None:
        """A page of text."""
        self._add(step=step, summary=self._summary.text(tag, markdown))

    def close(self) -> None:
        """Twice is fine; nothing is left to write by then."""
        self._file.close()

    def write(self, data: bytes) -> None:
        """For the writer of records: all of it or an error."""
        while data:
            data = data[self._file.write(data) :]

    def _add(self, **what: Any) -> None:
        self._records.write(self._event(wall_time=time.time(), **what).SerializeToString())
