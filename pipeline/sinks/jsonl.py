"""What was seen, as text: one JSON object a frame, one frame a line.

    {"sequence": 7, "pts_s": 0.233333, "latency_ms": 9.1,
     "classes": {"person": {"area_share": 0.2134, "box_px": [412, 96, 380, 624]}}}

`box_px` is left, top, width, height. A class that is not in the picture is not in the line. The trap: every
line is flushed by itself, so that `tail -f` and a killed run both end with a whole line.
"""

import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.errors import SinkError
from pipeline.frame import StreamFormat
from pipeline.matte import Matte
from pipeline.sinks.disk import OutputFile
from pipeline.sinks.sink import Announce, PlainSink, Shown, Sink, SinkOptions

__all__ = ["JsonLinesOptions", "JsonLinesSink"]

_BINS = np.arange(256)


class JsonLinesOptions(SinkOptions):
    """Write one line of JSON a frame: time, latency, and area and bounding box of each class."""

    VALUE = "path"

    path: str = Field(min_length=1)
    """The file to write, such as `out.jsonl`; what it held before is replaced."""
    part: int = Field(0, ge=0)
    """How often the worker was restarted; above 0 the lines are added to the file."""

    def open(self, format: StreamFormat, *, pacing: str, announce: Announce) -> Sink:
        """Make the file.

        Raises:
            SinkError: it cannot be made; the message says what would help.
        """
        return JsonLinesSink(OutputFile(Path(self.path).expanduser(), is_continued=self.part > 0))


class JsonLinesSink(PlainSink):
    """Writes, flushes, forgets."""

    needs_matte = True
    needs_picture = False

    def __init__(self, file: OutputFile) -> None:
        self._file = file
        self._class_mask: NDArray[np.uint8] | None = None
        if file.size and not file.ends_with(b"\n"):
            # The worker before this one was killed in the middle of a line.
            self._write(b"\n")

    def accept(self, shown: Shown) -> None:
        classes = {} if shown.matte is None else self._classes(shown.matte)
        line = {
            "sequence": shown.sequence,
            "pts_s": round(shown.pts_ns / 1e9, 6),
            "latency_ms": round((time.monotonic_ns() - shown.captured_ns) / 1e6, 3),
            "classes": classes,
        }
        self._write(json.dumps(line).encode() + b"\n")

    def close(self) -> None:
        self._file.close()

    def _write(self, line: bytes) -> None:
        self._file.write(line)
        try:
            self._file.commit()
        except OSError as error:
            raise SinkError(f"{self._file.path}: {error.strerror}; the lines before are kept") from error

    def _classes(self, matte: Matte) -> dict[str, Any]:
        labels = matte.labels
        if self._class_mask is None or self._class_mask.shape != labels.shape:
            self._class_mask = np.empty_like(labels)
        counts = cv2.calcHist([labels], [0], None, [256], [0, 256]).reshape(-1)
        found = {}
        for index in _BINS[counts > 0].tolist():
            # 255 is the ignore index: no class, no name.
            if index < len(matte.classes):
                cv2.compare(labels, index, cv2.CMP_EQ, dst=self._class_mask)
                found[matte.classes[index]] = {
                    "area_share": round(float(counts[index]) / labels.size, 6),
                    "box_px": list(cv2.boundingRect(self._class_mask)),
                }
        return found
