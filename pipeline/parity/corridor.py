"""Clips through the real corridor, one worker process a stage, and what came out of it frame by frame.

Each clip is a stream of its own, because a stream has one size. A tap before render keeps the planes of every frame,
the sink `masks:` the label maps as shown. The trap: a run that lost a frame, or restarted a worker, proves nothing,
so it is an error here.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from configs import load
from pipeline.config import RunConfig
from pipeline.errors import StreamError
from pipeline.report import report_of
from pipeline.run import prepare
from pipeline.supervisor import Supervisor

__all__ = ["Seen", "Way", "played"]


@dataclass(frozen=True)
class Way:
    """One manner of streaming the pictures."""

    name: str
    """`lossless`, `h264`, `own`: the key in the JSON."""
    title: str
    is_lossless: bool = True
    arithmetic: str = "f32"
    """`f32`, or `auto` for what the engine would choose itself."""
    preprocess: str = "preprocess"
    """The stage that makes the tensor; another one seeds a fault."""


@dataclass(frozen=True)
class Seen:
    """What the corridor made of one picture."""

    tensor_bgr: NDArray[np.uint8]
    """(h, w, 3), engine size."""
    logits: NDArray[np.float32]
    """(C, h/4, w/4)."""
    label_map: NDArray[np.uint8]
    """(height, width) of the stream, as render brought it to that size."""


@dataclass(frozen=True)
class Played:
    """The output of one run, on disk until its folder is removed."""

    folder: Path
    backend: str
    """What ran the engine, for people."""

    def seen(self, stream: int, sequence: int) -> Seen:
        """One frame of one stream."""
        with np.load(self.folder / "planes" / f"{stream}-{sequence:06d}.npz") as planes:
            tensor_bgr, logits = planes["tensor_bgr"], planes["logits"]
        label_map = cv2.imread(str(self.folder / f"masks{stream}" / f"{sequence:06d}.png"), cv2.IMREAD_UNCHANGED)
        if label_map is None:
            raise StreamError(f"parity: stream {stream} showed no label map of frame {sequence}")
        return Seen(tensor_bgr, logits, np.asarray(label_map, np.uint8))


def played(clips: Sequence[Path], n_frames: int, engine: str, backend: str, way: Way, folder: Path) -> Played:
    """Run all clips at once, to their ends.

    Args:
        clips: one stream each.
        n_frames: of all of them together.
        engine: as on the command line.
        backend: a key of `BACKENDS`, or `auto`.
        way: how.
        folder: an empty one; what came out is in it afterwards.

    Raises:
        StreamError: the run failed, or lost a frame.
    """
    chain = ("capture", way.preprocess, "segment", "tap", "render")
    options = {
        "streams": [{"source": str(clip), "sinks": [f"masks:{folder / 'masks{stream}'}"]} for clip in clips],
        "engine": engine,
        "backend": backend,
        "build": "never",  # one backend from the first frame to the last
        "arithmetic": way.arithmetic,
        "effect": "none",
        "pacing": "lossless",
        "tap": str(folder / "planes"),
        "workers": [[stage] for stage in chain],
    }
    overrides = [f"{key}={json.dumps(value)}" for key, value in options.items()]
    supervisor = Supervisor(prepare(load(RunConfig, None, overrides)), lambda _: None)
    try:
        supervisor.run()
        if supervisor.was_interrupted:
            raise KeyboardInterrupt
        report = report_of(supervisor, None)
    finally:
        supervisor.close()
    streams = report.get("streams", [report])
    shown = sum(stream["frames"]["shown"] for stream in streams)
    if shown != n_frames or report["restarts"]:
        raise StreamError(
            f"parity: the corridor showed {shown} of {n_frames} frames and restarted {report['restarts']} workers; "
            f"nothing can be said of such a run. What happened: {report['events']}"
        )
    return Played(folder, report["backend"])
