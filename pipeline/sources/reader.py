"""One video stream of an open container, frame by frame: what files and network streams share.

A damaged packet is skipped and counted, never the end of a stream. Time stamps are the container's, rebased
to 0 and always rising; where they jump back, the clock is anchored anew one frame later. What turns packets into
pictures, the processor or a GPU, is in `nvdec.py`.
"""

import os
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from engines.size import Size
from pipeline.errors import SourceCause, SourceUnavailable
from pipeline.sources.decoded import ColourWriter, DecodedFrame, colour_told, upright_size
from pipeline.sources.nvdec import AUTO_FROM_PIXELS, Hwaccel, NvdecUnavailable, PacketDecoder, open_nvdec
from pipeline.sources.source import OnEvent, nominal_rate

__all__ = ["VideoReader", "cause_of", "default_threads"]

MAX_FAILED_READS = 50
"""Reads that fail in a row before a container counts as ended."""

TEXT_CODECS = ("ansi", "bintext", "idf", "xbin")
"""FFmpeg draws any file called .txt as a terminal would show it; nobody means that."""


def default_threads() -> int:
    """Half of the CPUs, at most 4: on two cores frame threads cost 5 % more CPU and the stages need the other core."""
    return max(1, min(4, len(os.sched_getaffinity(0)) // 2))


def cause_of(error: BaseException) -> SourceCause:
    """Why FFmpeg or the system refused, in our words."""
    import av.error as ffmpeg

    causes: tuple[tuple[tuple[type[BaseException], ...], SourceCause], ...] = (
        ((ffmpeg.HTTPUnauthorizedError, ffmpeg.HTTPForbiddenError), SourceCause.AUTH),
        ((ffmpeg.HTTPNotFoundError, FileNotFoundError, IsADirectoryError, NotADirectoryError), SourceCause.NOT_FOUND),
        ((ConnectionRefusedError,), SourceCause.REFUSED),
        ((TimeoutError, ffmpeg.ExitError), SourceCause.TIMED_OUT),
        ((PermissionError,), SourceCause.PERMISSION),
        ((ffmpeg.InvalidDataError, ffmpeg.PatchWelcomeError, LookupError, NotImplementedError), SourceCause.CODEC),
    )
    for kinds, cause in causes:
        if isinstance(error, kinds):
            return cause
    return SourceCause.LOST


class VideoReader:
    """Decodes the best video stream of a container. Not for two threads at once.

    Args:
        container: `av.container.InputContainer`, owned by the caller.
        told: how messages call it.
        threads: decoder threads.
        is_live: slice threads only (frame threads hold back a frame each), and gaps of more than
            `MAX_LIVE_GAP_NS` are closed.
        hwaccel: `cuda` decodes on an NVIDIA GPU where that works, `auto` only pictures from `AUTO_FROM_PIXELS` on.

    Raises:
        SourceUnavailable: no video stream, no decoder, or no frame that can be decoded.
    """

    MAX_LIVE_GAP_NS = 10_000_000_000

    def __init__(self, container: Any, told: str, *, threads: int, is_live: bool, hwaccel: Hwaccel = "none") -> None:
        self.n_corrupt = 0
        self.on_event: OnEvent | None = None
        self._told = told
        self._is_live = is_live
        self._container = container
        self._stream = _best_video_stream(container, told)
        self._stream.thread_type = "SLICE" if is_live else "AUTO"
        self._stream.thread_count = threads
        if is_live:
            self._stream.codec_context.options = {"flags": "low_delay"}
        self._decoder = PacketDecoder(self._stream.codec_context, self._on_software)
        self._unsaid = ""
        """Why it is not the GPU that decodes, until somebody listens."""
        if hwaccel == "none":
            self._decoder.use_software()
        self.writer = ColourWriter()
        self._anchor_raw: int | None = None
        self._anchor_ns = 0
        self._last_ns = -1
        self._size: Size | None = None
        self._frames = self._decode()
        self._held: DecodedFrame | None = next(self._frames, None)
        if self._held is None:
            raise SourceUnavailable(
                f"{told}: has a video stream ({self.codec}) but no frame could be decoded; it may be cut short, "
                "or still be written: check that it plays elsewhere",
                SourceCause.TRUNCATED,
            )
        self.width, self.height = upright_size(self._held.picture)
        self.granted = f"{self.codec} {colour_told(self._held.picture)}"
        if hwaccel != "none":
            self._ask_hardware(self._held.picture, hwaccel)

    @property
    def codec(self) -> str:
        """FFmpeg's name of the codec."""
        return str(self._stream.codec_context.name)

    @property
    def rate_hz(self) -> Fraction:
        """Nominal rate; 30 where the container does not know or says something impossible."""
        for rate in (self._stream.guessed_rate, self._stream.average_rate, self._stream.base_rate):
            if rate and 1 <= rate <= 1000:
                return nominal_rate(float(rate))
        return Fraction(30)

    @property
    def n_frames(self) -> int | None:
        """How many frames the container promises; estimated from the duration where it does not count."""
        if self._stream.frames > 0:
            return int(self._stream.frames)
        seconds = self.duration_s
        return None if seconds is None else max(1, round(seconds * self.rate_hz))

    @property
    def duration_s(self) -> float | None:
        """Of the video stream, else of the container."""
        if self._stream.duration and self._stream.time_base:
            return float(self._stream.duration * self._stream.time_base)
        return self._container.duration / 1_000_000 if self._container.duration else None

    def next(self) -> DecodedFrame | None:
        """The next frame; None at the end. FFmpeg's own errors (time-outs) come through."""
        if self._unsaid and self.on_event is not None:
            self.on_event("decoded by the processor", f"{self._told}: {self._unsaid}")
            self._unsaid = ""
        held, self._held = self._held, None
        return held if held is not None else next(self._frames, None)

    def rewind(self) -> None:
        """Start again from the beginning; time goes on."""
        self._container.seek(0)
        self._decoder.rewind()
        self._anchor_raw = None
        self._frames = self._decode()

    def _decode(self) -> Iterator[DecodedFrame]:
        from av.error import InvalidDataError

        for packet in self._packets():
            try:
                pictures = self._decoder.decode(packet)
            except InvalidDataError:
                self._count_corrupt()
                continue
            for picture in pictures:
                if picture.is_corrupt:
                    self._count_corrupt()
                self._notice_size(picture)
                yield DecodedFrame(picture, self._rebased(picture), self.writer)

    def _ask_hardware(self, first: Any, hwaccel: Hwaccel) -> None:
        """Change over to NVDEC if that is wanted and works; a person who named it hears why it does not."""
        n_pixels = first.width * first.height
        try:
            if hwaccel == "auto" and n_pixels < AUTO_FROM_PIXELS:
                raise NvdecUnavailable(f"{n_pixels / 1e6:.1f} million pixels are too few for auto")
            if first.pts is None:
                raise NvdecUnavailable("its frames have no time stamps")
            if first.rotation:
                raise NvdecUnavailable("its pictures are to be turned, which only the processor's decoder tells")
            self._decoder.use_hardware(open_nvdec(self._stream.codec_context))
        except NvdecUnavailable as error:
            self._decoder.use_software()
            if hwaccel == "cuda":
                self._unsaid = f"hwaccel cuda was wanted; {error}; run_stream.py doctor tells more"
        else:
            self.granted += ", NVDEC"

    def _on_software(self, why: str) -> None:
        self._unsaid = f"NVDEC failed in mid-stream ({why})"

    def _packets(self) -> Iterator[Any]:
        from av.error import InvalidDataError

        failed = 0
        while failed < MAX_FAILED_READS:
            try:
                for packet in self._container.demux(self._stream):
                    failed = 0
                    yield packet
                return
            except InvalidDataError:
                failed += 1
                self._count_corrupt()

    def _count_corrupt(self) -> None:
        self.n_corrupt += 1
        if self.on_event is not None and self.n_corrupt & (self.n_corrupt - 1) == 0:  # 1, 2, 4, 8, ...
            self.on_event("corrupt packets", f"{self._told}: {self.n_corrupt} skipped so far")

    def _notice_size(self, picture: Any) -> None:
        size = upright_size(picture)
        if self._size is not None and size != self._size and self.on_event is not None:
            told = f"{self._size} became {size}"
            self.on_event("size changed", f"{self._told}: {told}; letterboxed into the first size")
        self._size = size

    def _rebased(self, picture: Any) -> int:
        step_ns = int(1_000_000_000 / self.rate_hz)
        if self._last_ns < 0 and picture.pts is None:
            self._last_ns = 0
            return 0
        due_ns = 0 if self._last_ns < 0 else self._last_ns + step_ns
        if picture.pts is None:
            pts_ns = due_ns
        else:
            base = picture.time_base or self._stream.time_base
            raw_ns = picture.pts * 1_000_000_000 * base.numerator // base.denominator
            if self._anchor_raw is None:
                self._anchor_raw, self._anchor_ns = raw_ns, due_ns
            pts_ns = self._anchor_ns + raw_ns - self._anchor_raw
            jumped = self._is_live and pts_ns - self._last_ns > self.MAX_LIVE_GAP_NS
            if pts_ns <= self._last_ns or jumped:
                self._anchor_raw, self._anchor_ns = raw_ns, due_ns
                pts_ns = due_ns
        self._last_ns = pts_ns
        return pts_ns


def _best_video_stream(container: Any, told: str) -> Any:
    # Cover art of a music file is a video stream of one picture: a real one goes first.
    streams = sorted(container.streams.video, key=lambda s: bool(s.disposition & s.disposition.attached_pic))
    if not streams:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise SourceUnavailable(f"{told}: holds {kinds}, no video; pass a video", SourceCause.CODEC)
    stream = streams[0]
    if stream.codec_context is None:
        raise SourceUnavailable(
            f"{told}: no decoder for its video; convert it first: ffmpeg -i IN -c:v libx264 OUT.mp4", SourceCause.CODEC
        )
    if stream.codec_context.name in TEXT_CODECS:
        raise SourceUnavailable(f"{told}: is a text, which FFmpeg would draw; pass a video", SourceCause.CODEC)
    return stream
