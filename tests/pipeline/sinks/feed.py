"""What the tests feed to sinks: formats, and shown frames with their number painted in."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.frame import StreamFormat
from pipeline.sinks import Announce, Shown
from pipeline.sources.synthetic import paint_number, read_number

__all__ = ["Announce", "FakeMatte", "decoded", "ignore", "numbers_in", "picture", "shown", "stream_format", "times_in"]

STEP_NS = 40_000_000
"""25 frames a second."""


def stream_format(width: int = 320, height: int = 240, **fields: Any) -> StreamFormat:
    """A format of 25 frames a second."""
    return StreamFormat(
        **{
            "width": width,
            "height": height,
            "rate_hz": Fraction(25),
            "is_live": False,
            "source": "synthetic",
            **fields,
        }
    )


def picture(number: int, width: int = 320, height: int = 240) -> NDArray[np.uint8]:
    """A textured, coloured frame with its number; compresses to some kilobytes."""
    rng = np.random.default_rng(number)
    image_bgr = rng.integers(90, 120, (height, width, 3)).astype(np.uint8)
    image_bgr[height // 2 :, width // 2 :] = (30, 60, 200)
    paint_number(image_bgr, number)
    return image_bgr


def shown(number: int, width: int = 320, height: int = 240, *, pts_ns: int | None = None, matte: Any = None) -> Shown:
    """Frame `number`, counted from 1, at its time."""
    at_ns = (number - 1) * STEP_NS if pts_ns is None else pts_ns
    return Shown(picture(number, width, height), matte, number - 1, at_ns, 0, 0)


def numbers_in(path: Path) -> list[int | None]:
    """The painted numbers of a video file; a strict reader, which raises at damage."""
    return [read_number(frame.to_ndarray(format="bgr24")) for frame in decoded(path)]


def times_in(path: Path) -> list[float]:
    """Presentation times of a video file, in seconds."""
    return [float(frame.pts * frame.time_base) for frame in decoded(path)]


def decoded(path: Path) -> Iterator[Any]:
    """Every frame of a video file."""
    with av.open(str(path)) as container:
        yield from container.decode(video=0)


@dataclass
class FakeMatte:
    """A label map and its classes."""

    labels: NDArray[np.uint8]
    classes: tuple[str, ...] = ("background", "person")


def ignore(line: str) -> None:
    """An announcement nobody reads."""
