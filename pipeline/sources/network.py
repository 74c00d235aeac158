"""A network camera or stream: RTSP over TCP, or HTTP, read by PyAV.

FFmpeg cannot be interrupted from outside and its own time-outs are inexact (a killed server merely ends the
loop, a frozen one is noticed after twice the time), so a thread of its own decodes and `grab` waits beside it
with its own watchdog. A thread that hangs is left behind; it ends, and closes its connection, when FFmpeg
gives up. Live streams keep the newest frames, files over HTTP wait.
"""

import socket
import threading
from collections import deque
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, SecretStr, field_serializer, field_validator

from pipeline.errors import SourceCause, SourceLost, SourceUnavailable
from pipeline.frame import StreamFormat
from pipeline.sources.decoded import DecodedFrame
from pipeline.sources.nvdec import Hwaccel
from pipeline.sources.reader import VideoReader, cause_of, default_threads
from pipeline.sources.reconnect import Reconnecting
from pipeline.sources.source import Grabbed, OnEvent, Source, SourceOptions, ignore_event
from pipeline.sources.uri import masked, scrubbed, split_address

__all__ = ["SCHEMES", "NetworkOptions", "NetworkSource"]

SCHEMES = ("rtsp", "rtsps", "http", "https")

N_QUEUED = 4
"""Decoded frames between the decoding thread and `grab`; a live stream drops the oldest beyond that."""

POLL_S = 0.05
"""How often a wait for the opening looks whether it is still wanted."""

_REMEDIES = {
    SourceCause.REFUSED: "nothing listens there: check the port, and that the camera's RTSP service is on",
    SourceCause.AUTH: "user or password are wrong or missing: write scheme://USER:PASSWORD@HOST/…",
    SourceCause.NOT_FOUND: "check the host name and the path; cameras differ in theirs: see its manual",
    SourceCause.TIMED_OUT: "no answer: check that the host is reachable, or raise open_timeout_s",
    SourceCause.CODEC: "what it sends cannot be decoded: choose H.264 or H.265 in the camera's settings",
    SourceCause.LOST: "check the network",
}


class NetworkOptions(SourceOptions):
    """A network camera or stream: rtsp:// or http(s)://, reconnected when lost."""

    is_live: ClassVar[bool] = True

    model_config = ConfigDict(hide_input_in_errors=True)

    uri: SecretStr
    """Address, with user and password where needed; the password is never shown."""
    open_timeout_s: float = Field(5.0, gt=0, le=300)
    """The first frame must be there within this time."""
    read_timeout_s: float = Field(5.0, gt=0, le=300)
    """Silence for this long counts as a loss."""
    reconnect_for_s: float | None = Field(None, ge=0)
    """How long to try after a loss; None is for ever, 0 not at all."""
    transport: Literal["tcp", "udp"] = "tcp"
    """How RTSP carries the pictures."""
    width: int | None = Field(None, ge=16, le=16384)
    """Scale to this width, with `height`; None keeps the stream's own size."""
    height: int | None = Field(None, ge=16, le=16384)
    """Scale to this height, with `width`."""
    threads: int = Field(0, ge=0, le=64)
    """Decoder threads (slices, no delay); 0 is half of the CPUs, at most 4."""
    hwaccel: Hwaccel = "none"
    """cuda: an NVIDIA GPU decodes where that works; auto: only from 1080p on; none: the processor."""

    @field_validator("uri")
    @classmethod
    def _is_known(cls, uri: SecretStr) -> SecretStr:
        address = split_address(uri.get_secret_value())
        if address is None or address.scheme not in SCHEMES or not address.host:
            raise ValueError(f"expected {'://, '.join(SCHEMES)}:// and a host")
        return uri

    @field_serializer("uri")
    def _shown(self, uri: SecretStr) -> str:
        return masked(uri.get_secret_value())

    @property
    def label(self) -> str:
        """The address as it may be shown."""
        return masked(self.uri.get_secret_value())

    def open(self) -> Source:
        """Connect and wait for the first frame.

        Raises:
            SourceUnavailable: with the cause told apart: refused, auth, not found, timed out, codec.
        """
        return Reconnecting(lambda closing: NetworkSource(self, closing), reconnect_for_s=self.reconnect_for_s)


class NetworkSource:
    """One connection. When it is lost it stays lost: `Reconnecting` makes the next one."""

    def __init__(self, options: NetworkOptions, closing: threading.Event | None = None) -> None:
        self.on_event: OnEvent = ignore_event
        self._options = options
        self._frames: deque[DecodedFrame] = deque()
        self._notes: deque[tuple[str, str]] = deque()
        """What the reader tells, until the next `grab`: at the beginning nobody listens yet."""
        self._changed = threading.Condition()
        self._is_closed = False
        self._is_over = False
        self._error: BaseException | None = None
        self._opened: VideoReader | None = None
        self._is_live = True
        self._thread = threading.Thread(target=self._run, name="network source", daemon=True)
        self._thread.start()
        self._reader = self._wait_until_open(closing or threading.Event())
        self.format = StreamFormat(
            width=options.width or self._reader.width,
            height=options.height or self._reader.height,
            rate_hz=self._reader.rate_hz,
            is_live=self._is_live,
            source=options.label,
            n_frames=None if self._is_live else self._reader.n_frames,
            granted=self._reader.granted,
        )

    def grab(self) -> Grabbed | None:
        """The next frame; see `Source.grab`."""
        try:
            return self._next()
        finally:
            while self._notes:
                self.on_event(*self._notes.popleft())

    def _next(self) -> Grabbed | None:
        with self._changed:
            heard = self._changed.wait_for(
                lambda: self._frames or self._is_over or self._is_closed, self._options.read_timeout_s
            )
            if self._is_closed:
                return None
            if self._frames:
                frame = self._frames.popleft()
                self._changed.notify_all()
                return frame
            label = self._options.label
            if not heard:
                silent_s = self._options.read_timeout_s
                raise SourceLost(f"{label}: no frame for {silent_s:g} s", SourceCause.TIMED_OUT)
            if self._error is not None:
                told = scrubbed(str(self._error), self._options.uri.get_secret_value())
                raise SourceLost(f"{label}: {told}", cause_of(self._error)) from None
            if self._is_live:
                raise SourceLost(f"{label}: the connection was closed", SourceCause.LOST)
            return None

    def close(self) -> None:
        """Let go; the decoding thread closes the connection when FFmpeg returns to it."""
        with self._changed:
            self._is_closed = True
            self._frames.clear()
            self._changed.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=2 * POLL_S)

    def _wait_until_open(self, closing: threading.Event) -> VideoReader:
        waits = max(1, round(self._options.open_timeout_s / POLL_S))
        with self._changed:
            for _ in range(waits):
                if self._changed.wait_for(lambda: self._opened or self._is_over, POLL_S) or closing.is_set():
                    break
            reader, error = self._opened, self._error
            if reader is not None and not closing.is_set():
                return reader
            self._is_closed = True
            self._changed.notify_all()
        if isinstance(error, SourceUnavailable):
            raise error
        raise self._unavailable(error) from None

    def _unavailable(self, error: BaseException | None) -> SourceUnavailable:
        """What to tell; the library's own exception is not chained, its text may hold the password."""
        label = self._options.label
        if error is None:
            cause, told = SourceCause.TIMED_OUT, f"no frame within {self._options.open_timeout_s:g} s"
        else:
            cause = cause_of(error)
            told = scrubbed(str(getattr(error, "strerror", None) or error), self._options.uri.get_secret_value())
            address = split_address(self._options.uri.get_secret_value())
            if cause is SourceCause.LOST and address is not None and not _resolves(address.host):
                # Where the address can be read in two ways, the host may be a part of the password.
                seen = split_address(label)
                host = f"host {address.host!r}" if seen and seen.host == address.host else "its host"
                cause, told = SourceCause.NOT_FOUND, f"{host} is unknown"
        return SourceUnavailable(f"{label}: {cause}: {told}; {_REMEDIES.get(cause, 'check the address')}", cause)

    def _run(self) -> None:
        container: Any = None
        try:
            container = self._connect()
            reader = VideoReader(
                container,
                self._options.label,
                threads=self._options.threads or default_threads(),
                is_live=True,
                hwaccel=self._options.hwaccel,
            )
            reader.on_event = lambda what, why: self._notes.append((what, why))
            address = split_address(self._options.uri.get_secret_value())
            is_file = bool(container.duration) and address is not None and address.scheme.startswith("http")
            with self._changed:
                self._is_live = not is_file
                self._opened = reader
                self._changed.notify_all()
            while (frame := reader.next()) is not None:
                if not self._put(frame):
                    break
        except BaseException as error:  # noqa: BLE001
            # Whatever ends this thread is raised by `grab` in the thread that can act on it.
            with self._changed:
                self._error = error
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify_all()
            if container is not None:
                container.close()

    def _put(self, frame: DecodedFrame) -> bool:
        with self._changed:
            if self._is_live:
                while len(self._frames) >= N_QUEUED:
                    self._frames.popleft()
            else:
                self._changed.wait_for(lambda: len(self._frames) < N_QUEUED or self._is_closed)
            if self._is_closed:
                return False
            self._frames.append(frame)
            self._changed.notify_all()
            return True

    def _connect(self) -> Any:
        import av

        address = split_address(self._options.uri.get_secret_value())
        assert address is not None, "checked by the options"
        # FFmpeg's own time-outs come a second after ours: they report a silent server as "invalid data", and are
        # only there to end a thread that was left behind.
        open_s, read_s = self._options.open_timeout_s + 1, self._options.read_timeout_s + 1
        timeout_us = str(int(max(open_s, read_s) * 1_000_000))
        # No "nobuffer": it throws away what was read while probing, and the next key frame may be seconds away
        # (opening 1.08 s instead of 0.19 s at one key frame a second). This loop never pauses, so nothing piles up.
        options = {"probesize": "500000", "fpsprobesize": "0"}
        if address.scheme.startswith("rtsp"):
            # The codec is known from the session description, so a short look is enough: it is waited for.
            options |= {"analyzeduration": "100000", "max_delay": "200000"}
            options |= {"rtsp_transport": self._options.transport, "timeout": timeout_us}
        else:
            options |= {"analyzeduration": "1000000", "rw_timeout": timeout_us}
        return av.open(
            address.for_reader(), mode="r", options=options, timeout=(open_s, read_s), metadata_errors="replace"
        )


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True
