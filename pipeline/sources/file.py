"""A video file, read by PyAV: every format FFmpeg knows, single pictures and GIFs too.

Lossless by nature: `grab` decodes in the reader's thread and nothing is thrown away. A file that is cut short
gives the frames it has, then ends with an event; only one without any frame is refused.
"""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field

from configs import near_matches
from pipeline.errors import SourceCause, SourceUnavailable
from pipeline.frame import StreamFormat
from pipeline.sources.decoded import DecodedFrame
from pipeline.sources.nvdec import Hwaccel
from pipeline.sources.reader import VideoReader, cause_of, default_threads
from pipeline.sources.source import Grabbed, OnEvent, SourceOptions, ignore_event

__all__ = ["FileOptions", "FileSource"]


class FileOptions(SourceOptions):
    """A video file: every format FFmpeg reads."""

    path: str = Field(min_length=1)
    """Where it is."""
    loop: bool = False
    """Start again at the end, for ever; time goes on, and what was remembered of earlier frames ends."""
    width: int | None = Field(None, ge=16, le=16384)
    """Scale to this width, with `height`; None keeps the file's own size."""
    height: int | None = Field(None, ge=16, le=16384)
    """Scale to this height, with `width`."""
    threads: int = Field(0, ge=0, le=64)
    """Decoder threads; 0 is half of the CPUs, at most 4."""
    hwaccel: Hwaccel = "none"
    """cuda: an NVIDIA GPU decodes where that works; auto: only from 1080p on; none: the processor."""

    def open(self) -> "FileSource":
        """Open the file and decode its first frame.

        Raises:
            SourceUnavailable: missing, a folder, not readable, not a video, or cut short before its first frame.
        """
        return FileSource(self)


class FileSource:
    """An open file."""

    def __init__(self, options: FileOptions) -> None:
        self.on_event: OnEvent = ignore_event
        self._path = Path(options.path).expanduser()
        self._loop = options.loop
        self._lock = threading.Lock()
        self._is_closed = False
        self._n_grabbed = 0
        self._container = _opened(self._path)
        try:
            self._reader = VideoReader(
                self._container,
                str(self._path),
                threads=options.threads or default_threads(),
                is_live=False,
                hwaccel=options.hwaccel,
            )
        except BaseException:
            self._container.close()
            raise
        self._reader.on_event = lambda what, why: self.on_event(what, why)
        self._n_promised = self._reader.n_frames
        self.format = StreamFormat(
            width=options.width or self._reader.width,
            height=options.height or self._reader.height,
            rate_hz=self._reader.rate_hz,
            is_live=False,
            source=str(self._path),
            n_frames=None if options.loop else self._n_promised,
            audio_path=str(self._path) if self._container.streams.audio and not options.loop else None,
            granted=self._reader.granted,
        )

    def grab(self) -> Grabbed | None:
        """Decode the next frame; None at the end."""
        with self._lock:
            if self._is_closed:
                return None
            frame = self._next()
            if frame is None and self._loop and self._n_grabbed:
                self._reader.rewind()
                frame = self._next()
                if frame is not None:
                    frame = replace(frame, after_gap=True)
            if frame is None:
                self._tell_if_short()
            else:
                self._n_grabbed += 1
            return frame

    def close(self) -> None:
        """Let go of the file; waits for a `grab` under way, which takes one frame's decoding."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._container.close()

    def _next(self) -> DecodedFrame | None:
        try:
            return self._reader.next()
        except OSError as error:
            # The disk or the network share beneath went away; what was read so far stands.
            self.on_event("source cut short", f"{self._path}: {error.strerror} after {self._n_grabbed} frames")
            return None

    def _tell_if_short(self) -> None:
        # Containers round their count; a missing tenth is no rounding.
        if self._n_promised and not self._loop and self._n_grabbed < 0.9 * self._n_promised - 1:
            told = f"{self._path}: {self._n_grabbed} of about {self._n_promised} frames could be read"
            self.on_event("source cut short", told)


def _opened(path: Path) -> Any:
    import av

    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise _unreadable(path, error) from error
    if not head:
        raise SourceUnavailable(f"{path}: is empty; pass a video file", SourceCause.TRUNCATED)
    try:
        # "file:" keeps FFmpeg from reading a name such as "a:b.mp4" as a protocol.
        return av.open(f"file:{path}", mode="r", metadata_errors="replace")
    except (OSError, ValueError, LookupError, av.error.FFmpegError) as error:
        if head[4:8] == b"ftyp" and b"moov" not in head:
            raise SourceUnavailable(
                f"{path}: cut short: its index (moov) is missing, as when a recording was not ended; "
                "record it again, or repair it with untrunc",
                SourceCause.TRUNCATED,
            ) from error
        told = getattr(error, "strerror", None) or str(error)
        raise SourceUnavailable(
            f"{path}: not a video that FFmpeg can read ({told}); pass a video file, such as .mp4 or .mkv",
            cause_of(error),
        ) from error


def _unreadable(path: Path, error: OSError) -> SourceUnavailable:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        folder = path.parent
        names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        hint = near_matches(path.name, names) if names else f"there is no folder {folder}"
        hint = hint if hint.startswith(("did you", "there")) else "check the path"
        return SourceUnavailable(f"{path}: no such file; {hint}", SourceCause.NOT_FOUND)
    if isinstance(error, IsADirectoryError):
        return SourceUnavailable(f"{path}: is a folder; pass one of the videos in it", SourceCause.NOT_FOUND)
    if isinstance(error, PermissionError):
        return SourceUnavailable(f"{path}: may not be read by this user; check: ls -l {path}", SourceCause.PERMISSION)
    return SourceUnavailable(f"{path}: cannot be read ({error.strerror})", SourceCause.LOST)
