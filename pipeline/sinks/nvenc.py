"""Video files by NVENC, the encoder on an NVIDIA GPU, with libx264 behind it.

NVENC is asked before a file is begun, by opening an encoder of the picture's size: not every GPU has one (H100 and H200
have none), and a driver allows only so many at once. One that fails in mid-stream leaves a file that is playable, and
the rest goes into a file beside it. The trap: `accept` runs in the sink's thread, from which nobody may be told
anything, so what there is to say waits for `update`.

Not yet run on a GPU; options and names are FFmpeg's, the way back is tested with encoders that act as if.
"""

from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from engines.machine import nvidia_reason
from pipeline.errors import SinkError
from pipeline.sinks.sink import Announce, PlainSink, Shown, Sink

__all__ = ["SPEEDS", "Codec", "EncoderFailed", "GoesOnInSoftware", "nvenc_options", "nvenc_reason", "software_path"]

Codec = Literal["libx264", "h264_nvenc", "hevc_nvenc"]

SPEEDS = dict(
    zip(
        "ultrafast superfast veryfast faster fast medium slow slower veryslow".split(),
        "p1 p1 p2 p3 p4 p4 p5 p6 p7".split(),
        strict=True,
    )
)
"""Presets of libx264 to those of NVENC (NVENC Video Encoder API, "Presets"), both from fast to good."""


class EncoderFailed(SinkError):
    """The encoder gave up, not the disk."""


def nvenc_reason(codec: str = "h264_nvenc", width: int = 1280, height: int = 720) -> str | None:
    """Why NVENC cannot write pictures of this size here, None when it can. Without a driver it costs nothing to ask."""
    reason = nvidia_reason()
    if reason is not None:
        return reason
    try:
        import av
        from av.codec.codec import UnknownCodecError
    except ImportError as error:
        return f"PyAV cannot be loaded ({error})"
    try:
        encoder: Any = av.CodecContext.create(codec, "w")
        encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
        encoder.time_base, encoder.framerate = Fraction(1, 90_000), Fraction(30)
        encoder.open()
    except UnknownCodecError:
        return f"this FFmpeg has no {codec}"
    except (OSError, ValueError) as error:  # FFmpeg's errors are OSErrors and ValueErrors in PyAV
        return f"{codec} does not open at {width}x{height} ({getattr(error, 'strerror', None) or error})"
    return None


def nvenc_options(crf: int, preset: str) -> dict[str, str]:
    """Constant quality as libx264's crf and preset mean it, as near as NVENC comes.

    Names are those of FFmpeg's `h264_nvenc` and `hevc_nvenc`. A `cq` of 0 leaves the quality to the encoder.
    """
    return {"preset": SPEEDS[preset], "rc": "vbr", "cq": str(max(1, crf)), "b": "0"}


def software_path(path: Path) -> Path:
    """Where a file goes on without NVENC: out.mp4 in out.software.mp4."""
    return path.with_name(f"{path.stem}.software{path.suffix}")


class GoesOnInSoftware(PlainSink):
    """A file by NVENC; when that fails, the rest of it by libx264 in a file beside it.

    Args:
        hardware: the sink that encodes by NVENC.
        software: opens the sink that goes on, with what announces for it.
        announce: tells people; called from `update` alone.
        told: what to say when it has to go on, after the reason.
    """

    def __init__(self, hardware: Sink, software: Callable[[Announce], Sink], announce: Announce, told: str) -> None:
        self._sink = hardware
        self._software: Callable[[Announce], Sink] | None = software
        self._announce = announce
        self._told = told
        self._unsaid: list[str] = []

    def accept(self, shown: Shown) -> None:
        try:
            self._sink.accept(shown)
        except EncoderFailed as error:
            if self._software is None:
                raise
            self._change(self._software, error)
            self._sink.accept(shown)

    def update(self, numbers: dict[str, Any]) -> None:
        """Say what has gathered."""
        del numbers
        while self._unsaid:
            self._announce(self._unsaid.pop(0))

    def close(self) -> None:
        """Finish the file that is open."""
        self._sink.close()

    def _change(self, software: Callable[[Announce], Sink], error: EncoderFailed) -> None:
        self._software = None
        with suppress(SinkError):  # its end could not be encoded either; what was written before stays playable
            self._sink.close()
        self._unsaid.append(f"{error}; {self._told}")
        self._sink = software(self._unsaid.append)
