"""A webcam, read by OpenCV over V4L2.

A camera grants what it likes: MJPG and the wanted size and rate are asked for, and `format.granted` says what
came of it. Raw YUYV at 720p needs more than USB 2 carries, which is why MJPG is asked for first.
"""

import errno
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import cv2
from pydantic import Field

from pipeline.errors import SourceCause, SourceLost, SourceUnavailable
from pipeline.frame import StreamFormat
from pipeline.sources.reconnect import Reconnecting
from pipeline.sources.source import (
    Grabbed,
    Image,
    OnEvent,
    Source,
    SourceOptions,
    ignore_event,
    letterbox_into,
    nominal_rate,
)

__all__ = ["Camera", "WebcamOptions", "WebcamSource", "cameras"]

READ_TIMEOUT_MS = 5000
N_FAILED_READS = 3
"""One bad read may be a damaged JPEG; this many in a row are a camera that is gone."""


@dataclass(frozen=True)
class Camera:
    """A camera that this machine has."""

    path: str
    name: str


def cameras(system: Path = Path("/sys/class/video4linux")) -> list[Camera]:
    """The cameras found, metadata nodes left out; nothing is opened."""
    found = []
    for node in sorted(system.glob("video*"), key=lambda node: int(node.name.removeprefix("video") or 0)):
        # A camera has several nodes; the first one gives pictures, the others metadata.
        if _text(node / "index") in ("0", ""):
            found.append(Camera(f"/dev/{node.name}", _text(node / "name") or "unnamed"))
    return found


class WebcamOptions(SourceOptions):
    """A webcam: its number or /dev/videoN."""

    is_live: ClassVar[bool] = True

    device: str = Field("/dev/video0", pattern=r"^/dev/.+|^\d+$")
    """`0` or `/dev/video0`."""
    width: int | None = Field(None, ge=16, le=16384)
    """Asked of the camera; None asks for 1280."""
    height: int | None = Field(None, ge=16, le=16384)
    """Asked of the camera; None asks for 720."""
    rate_hz: float | None = Field(None, gt=0, le=1000)
    """Asked of the camera; None asks for 30."""
    reconnect_for_s: float | None = Field(None, ge=0)
    """How long to try after it was unplugged; None is for ever, 0 not at all."""

    @property
    def path(self) -> str:
        """The device node."""
        return f"/dev/video{int(self.device)}" if self.device.isdecimal() else self.device

    def open(self) -> Source:
        """Open the camera and read a first frame.

        Raises:
            SourceUnavailable: no such camera, busy, no permission, or not a camera.
        """
        return Reconnecting(lambda _closing: WebcamSource(self), reconnect_for_s=self.reconnect_for_s)


class WebcamSource:
    """An open camera."""

    def __init__(self, options: WebcamOptions) -> None:
        self.on_event: OnEvent = ignore_event
        self._path = options.path
        self._lock = threading.Lock()
        self._is_closed = False
        _check_node(self._path)
        self._capture = cv2.VideoCapture(self._path, cv2.CAP_V4L2)
        try:
            self._held = self._configured(options)
        except BaseException:
            self._capture.release()
            raise
        self._started_ns = time.monotonic_ns()
        self._last_pts_ns = -1
        height, width = self._held.shape[:2]
        rate_hz = self._capture.get(cv2.CAP_PROP_FPS)
        rate_hz = rate_hz if 1 <= rate_hz <= 1000 else options.rate_hz or 30.0
        self.format = StreamFormat(
            width=width,
            height=height,
            rate_hz=nominal_rate(rate_hz),
            is_live=True,
            source=self._path,
            granted=self._granted(options, width, height, rate_hz),
        )

    def grab(self) -> Grabbed | None:
        """The next frame of the camera; its time is when the read returned."""
        with self._lock:
            for _ in range(N_FAILED_READS):
                if self._is_closed:
                    return None
                is_read, image_bgr = self._capture.read()
                if is_read and image_bgr is not None:
                    now_ns = max(time.monotonic_ns() - self._started_ns, self._last_pts_ns + 1)
                    self._last_pts_ns = now_ns
                    return _Shot(_three_channels(image_bgr), now_ns)
        raise SourceLost(f"{self._path}: gives no more frames; is it still plugged in?", SourceCause.LOST)

    def close(self) -> None:
        """Release it; waits for a read under way, a frame's time."""
        self._is_closed = True
        with self._lock:
            self._capture.release()

    def _configured(self, options: WebcamOptions) -> Image:
        capture = self._capture
        if not capture.isOpened():
            raise _not_opened(self._path)
        # The order matters: drivers offer sizes and rates by pixel format.
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, options.width or 1280)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, options.height or 720)
        capture.set(cv2.CAP_PROP_FPS, options.rate_hz or 30)
        # The driver keeps several frames; the reader never pauses, so two are enough and the newest is near.
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 2)
        capture.set(cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_TIMEOUT_MS)
        for _ in range(N_FAILED_READS):
            is_read, image_bgr = capture.read()
            if is_read and image_bgr is not None:
                return _three_channels(image_bgr)
        if _holders(self._path):
            raise _not_opened(self._path)
        raise SourceUnavailable(
            f"{self._path}: opened but gives no frame; plug it in again, or try another size: --size 640x480@30",
            SourceCause.TIMED_OUT,
        )

    def _granted(self, options: WebcamOptions, width: int, height: int, rate_hz: float) -> str:
        code = int(self._capture.get(cv2.CAP_PROP_FOURCC))
        letters = "".join(chr(code >> shift & 0xFF) for shift in (0, 8, 16, 24))
        fourcc = letters if letters.isprintable() and letters.strip() else "unknown format"
        asked = f"{options.width or 1280}x{options.height or 720}@{options.rate_hz or 30:g}"
        return f"{fourcc} {width}x{height}@{rate_hz:g}, asked MJPG {asked}"


@dataclass(frozen=True, slots=True)
class _Shot:
    image_bgr: Image
    pts_ns: int
    after_gap: bool = False

    def copy_into(self, image_bgr: Image) -> None:
        letterbox_into(self.image_bgr, image_bgr)


def _three_channels(image: Any) -> Image:
    """Infrared cameras give grey pictures."""
    is_grey = image.ndim == 2 or image.shape[2] == 1
    converted: Image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if is_grey else image
    return converted


def _check_node(path: str) -> None:
    """Ask the system before OpenCV, which does not say why it failed."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
            have = ", ".join(f"{camera.path} ({camera.name})" for camera in cameras()) or "none"
            raise SourceUnavailable(
                f"{path}: no such camera; cameras here: {have}; plug one in, or run the demo: run demo",
                SourceCause.NOT_FOUND,
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM):
            raise SourceUnavailable(
                f"{path}: this user may not use it; join the group: sudo usermod -aG video $USER, then log in again",
                SourceCause.PERMISSION,
            ) from error
        if error.errno == errno.EBUSY:
            raise _busy(path) from error
        raise SourceUnavailable(f"{path}: cannot be opened ({error.strerror})", SourceCause.LOST) from error


def _not_opened(path: str) -> SourceUnavailable:
    if _holders(path):
        return _busy(path)
    return SourceUnavailable(
        f"{path}: is not a camera that OpenCV can read; see which one is: segstream list", SourceCause.CODEC
    )


def _busy(path: str) -> SourceUnavailable:
    holders = ", ".join(_holders(path)) or "another program"
    return SourceUnavailable(f"{path}: busy, in use by {holders}; close it and try again", SourceCause.BUSY)


def _holders(path: str, processes: Path = Path("/proc")) -> list[str]:
    """Other processes that hold the node open, as `name (pid)`; those of other users cannot be seen."""
    found = []
    for folder in processes.glob("[0-9]*"):
        if folder.name == str(os.getpid()):
            continue
        try:
            if any(str(link.readlink()) == path for link in (folder / "fd").iterdir()):
                found.append(f"{_text(folder / 'comm') or 'a process'} ({folder.name})")
        except OSError:
            continue  # it ended meanwhile, or belongs to somebody else
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
