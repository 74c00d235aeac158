"""The composite as a video file: H.264 by PyAV, with the frames' own time stamps and the source's sound.

Playable at every moment: .mp4 and .mov grow by fragments of a quarter of a second (and become plain files when
closed), .mkv by clusters, and `OutputFile` lets only whole ones reach the disk. So a run that is killed, or
whose disk is full, keeps all but a fragment and the dozen frames that the encoder looks ahead. The trap: time
stamps are what they were at the source, so a file of a live stream has no constant rate. Encoding on a GPU is in
`nvenc.py`.
"""

from fractions import Fraction
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from pipeline.errors import SinkError
from pipeline.frame import StreamFormat
from pipeline.sinks.audio import AudioTrack
from pipeline.sinks.colour import YuvWriter
from pipeline.sinks.disk import OutputFile
from pipeline.sinks.nvenc import (
    SPEEDS,
    Codec,
    EncoderFailed,
    GoesOnInSoftware,
    nvenc_options,
    nvenc_reason,
    software_path,
)
from pipeline.sinks.sink import Announce, PlainSink, Shown, Sink, SinkOptions

__all__ = ["FileOptions", "FileSink"]

TIME_BASE = Fraction(1, 90_000)
"""Video's own: exact for 24, 25, 30, 50 and 60 a second and for 30000/1001."""
_LEAST_PLAYABLE_BYTES = 2048
"""A container's head alone is shorter; with one fragment of pictures it is longer."""

# hybrid_fragmented: fragments while it is written, an ordinary file once it is closed. delay_moov: the index waits
# for the first fragment, so that it can say what the sound needs.
_MP4 = {"movflags": "hybrid_fragmented+delay_moov", "frag_duration": "250000"}
_CONTAINERS: dict[str, tuple[str, dict[str, str]]] = {
    ".mp4": ("mp4", _MP4),
    ".mov": ("mov", _MP4),
    ".mkv": ("matroska", {"cluster_time_limit": "250"}),
}
# Every fragment reaches us when it is complete; a sound that ends early holds the picture up for a second, not ten.
_COMMON = {"flush_packets": "1", "max_interleave_delta": "1000000"}
# No B-frames: then a fragment never lacks a frame that lies between its last two, and the file begins at 0 for every
# player. Measured on four real clips at 720p: 14 to 18 % more bytes, 5 to 32 % less work.
_ENCODING = {"bf": "0"}


class FileOptions(SinkOptions):
    """Write a video file, H.264 in .mp4, .mkv or .mov."""

    VALUE = "path"

    path: str = Field(min_length=1)
    """The file to write; what it held before is replaced. Several streams put `{stream}` into it."""
    crf: int = Field(20, ge=0, le=51)
    """Quality: lower is better and larger; 18 to 28 is usual."""
    preset: str = "veryfast"
    """libx264's preset, from ultrafast to veryslow."""
    codec: Codec = "libx264"
    """Which encoder: h264_nvenc and hevc_nvenc are those of an NVIDIA GPU, and libx264 where they do not work."""
    threads: int = Field(2, ge=0, le=64)
    """Encoder threads; 0 lets the encoder choose. Two cost no more work than one, and use a core that is idle."""
    audio: bool = True
    """Carry over the sound of a file."""
    part: int = Field(0, ge=0)
    """How often the worker was restarted; above 0 it is a file of its own: out.part2.mp4."""

    @field_validator("path")
    @classmethod
    def _ends_known(cls, path: str) -> str:
        if Path(path).suffix.lower() not in _CONTAINERS:
            found = repr(Path(path).suffix) if Path(path).suffix else "nothing"
            raise ValueError(f"ends in {found}, expected .mp4, .mov or .mkv")
        return path

    @field_validator("preset")
    @classmethod
    def _is_preset(cls, preset: str) -> str:
        if preset not in SPEEDS:
            raise ValueError(f"no preset of libx264; known: {', '.join(SPEEDS)}")
        return preset

    def open(self, format: StreamFormat, *, pacing: str, announce: Announce) -> Sink:
        """Make the file and the encoder.

        Raises:
            SinkError: the file cannot be made, or there is no encoder; the message says what would help.
        """
        path = Path(self.path).expanduser()
        if self.part:
            path = path.with_name(f"{path.stem}.part{self.part + 1}{path.suffix}")
        if self.codec == "libx264":
            return FileSink(self, path, format, announce)
        by_libx264 = self.model_copy(update={"codec": "libx264"})
        reason = nvenc_reason(self.codec, format.width + format.width % 2, format.height + format.height % 2)
        if reason is not None:
            announce(f"{path}: encoded by libx264, {self.codec} was wanted; {reason}; run_stream.py doctor tells more")
            return FileSink(by_libx264, path, format, announce)
        beside = software_path(path)
        return GoesOnInSoftware(
            FileSink(self, path, format, announce),
            lambda tell: FileSink(by_libx264, beside, format, tell),
            announce,
            f"it goes on in {beside}, by libx264",
        )


class FileSink(PlainSink):
    """Encodes in its own thread."""

    def __init__(self, options: FileOptions, path: Path, format: StreamFormat, announce: Announce) -> None:
        import av

        self._disk = OutputFile(path, not_this=Path(format.source))
        self._yuv = YuvWriter(format.width, format.height)
        self._frame_s = float(1 / format.rate_hz) if format.rate_hz > 0 else 0.0
        self._first_ns: int | None = None
        self._last_pts = -1
        self._n_frames = 0
        self._is_closed = False
        name, muxing = _CONTAINERS[path.suffix.lower()]
        try:
            self._container: Any = av.open(self._disk, "w", format=name, options={**_COMMON, **muxing})
            self._video = self._encoder(options, format)
            self._audio = self._sound(format.audio_path, announce) if options.audio and format.audio_path else None
        except BaseException:
            self._disk.close()
            raise
        if self._yuv.is_padded:
            announce(
                f"{path}: {format.width}x{format.height} has an odd side, which yuv420p cannot have; "
                f"written as {self._yuv.width}x{self._yuv.height}, the edge repeated"
            )

    def accept(self, shown: Shown) -> None:
        if self._first_ns is None:
            self._first_ns = shown.pts_ns
        time_s = Fraction(shown.pts_ns - self._first_ns, 1_000_000_000)
        picture = self._yuv.picture(shown.composite_bgr)
        # Codecs want every time stamp later than the one before.
        self._last_pts = max(self._last_pts + 1, round(time_s / TIME_BASE))
        picture.pts, picture.time_base = self._last_pts, TIME_BASE
        self._mux(picture, float(time_s))
        self._n_frames += 1

    def close(self) -> None:
        """Finish the file.

        Raises:
            SinkError: its end could not be written; what was written before stays playable.
        """
        if self._is_closed:
            return
        self._is_closed = True
        try:
            if self._n_frames:
                if not self._disk.has_failed:
                    self._mux(None, float(self._last_pts * TIME_BASE) + self._frame_s)
                self._container.close()
                self._commit()
        finally:
            if self._audio is not None:
                self._audio.close()
            self._disk.close()

    def _mux(self, picture: Any, until_s: float) -> None:
        from av.error import FFmpegError

        try:
            self._container.mux(self._video.encode(picture))
            if self._audio is not None:
                self._audio.carry(until_s, self._first_ns or 0, is_last=picture is None)
        except FFmpegError as error:
            raise EncoderFailed(
                f"{self._disk.path}: could not be encoded ({error.strerror}); {self._kept()}"
            ) from error
        self._commit()

    def _commit(self) -> None:
        try:
            self._disk.commit()
        except OSError as error:
            raise SinkError(
                f"{self._disk.path}: {error.strerror}; {self._kept()}. Make room, or write to another disk"
            ) from error

    def _kept(self) -> str:
        if self._disk.size < _LEAST_PLAYABLE_BYTES:
            return "nothing that can be played could be kept"
        return "the file is playable, without the last second"

    def _encoder(self, options: FileOptions, format: StreamFormat) -> Any:
        from av.codec.codec import UnknownCodecError

        try:
            stream = self._container.add_stream(options.codec, rate=format.rate_hz if format.rate_hz > 0 else 30)
        except UnknownCodecError:
            raise SinkError(
                f"{self._disk.path}: this PyAV has no {options.codec}; its wheel has: pip install --force-reinstall av"
            ) from None
        stream.width, stream.height, stream.pix_fmt = self._yuv.width, self._yuv.height, "yuv420p"
        if options.codec == "libx264":
            stream.options = {"preset": options.preset, "crf": str(options.crf), **_ENCODING}
        else:
            stream.options = {**nvenc_options(options.crf, options.preset), **_ENCODING}
        if options.codec == "hevc_nvenc" and self._disk.path.suffix.lower() != ".mkv":
            stream.codec_context.codec_tag = "hvc1"  # Apple's players know HEVC in these files by no other name
        stream.time_base = TIME_BASE
        stream.codec_context.time_base = TIME_BASE
        stream.codec_context.thread_count = options.threads
        self._yuv.tag(stream.codec_context)
        return stream

    def _sound(self, path: str, announce: Announce) -> AudioTrack | None:
        from av.error import FFmpegError

        try:
            track = AudioTrack(Path(path), self._container, self._disk.path.suffix.lower())
        except (OSError, ValueError, FFmpegError) as error:
            announce(f"{self._disk.path}: without sound, that of {path} cannot be read ({error})")
            return None
        if track.told:
            announce(f"{self._disk.path}: {track.told}")
        return track
