"""Small clips that tests write with PyAV: every frame carries its number, in a colour that is known.

The trap: the numbers start at 1, because a black frame would read as no number rather than as 0.
"""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from pipeline.sources import Source
from pipeline.sources.source import Image
from pipeline.sources.synthetic import paint_number, read_number

BT601, BT709 = 5, 1
LIMITED, FULL = 1, 2


def numbered(number: int, width: int = 320, height: int = 240) -> Image:
    """A coloured frame with its number."""
    image_bgr = np.empty((height, width, 3), np.uint8)
    image_bgr[:] = (160, 90, 40)
    image_bgr[height // 2 :, width // 2 :] = (30, 60, 200)
    paint_number(image_bgr, number)
    return image_bgr


def write_clip(
    path: Path,
    n_frames: int = 12,
    width: int = 320,
    height: int = 240,
    *,
    times: Sequence[float] | None = None,
    rotation: int = 0,
    pixel_format: str = "yuv420p",
    codec: str = "libx264",
    has_audio_first: bool = False,
    colour: tuple[int, int] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write frames 1 to `n_frames` at 25 a second, or at `times` in seconds; `colour` is (matrix, range)."""
    with av.open(str(path), "w") as container:
        audio: Any = container.add_stream("aac", rate=8000) if has_audio_first else None
        stream: Any = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.options = options or ({"crf": "12", "preset": "ultrafast"} if codec == "libx264" else {})
        stream.time_base = Fraction(1, 1000)
        stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        if colour:
            stream.codec_context.colorspace, stream.codec_context.color_range = colour
        if audio is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
            silence.sample_rate = 8000
            container.mux(audio.encode(silence))
        for index in range(n_frames):
            image = numbered(index + 1, width, height)
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            if colour:
                frame = frame.reformat(
                    format=pixel_format, dst_colorspace=colour[0], dst_color_range=colour[1], threads=1
                )
            frame.pts = round(1000 * (times[index] if times else index / 25))
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio is not None:
            container.mux(audio.encode(None))
    return path


def images(source: Source) -> list[Image]:
    """Every frame that is left, copied as capture would."""
    found = []
    while (grabbed := source.grab()) is not None:
        image_bgr = np.full((source.format.height, source.format.width, 3), 7, np.uint8)
        grabbed.copy_into(image_bgr)
        found.append(image_bgr)
    return found


def numbers(source: Source) -> list[int | None]:
    """The numbers painted into every frame that is left."""
    return [read_number(image_bgr) for image_bgr in images(source)]
