"""What stands behind the subject: a colour, a drawn gradient, a picture, or a video that loops.

A backdrop lends a picture of frame size for a moment of the stream. Pictures and videos are scaled to
cover the frame, the overhang cut off evenly. The trap: a video is shown by the stream's clock, not one
picture a frame, so it keeps its speed whatever the stream's rate.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from configs import ConfigError
from pipeline.effects.effect import Image

if TYPE_CHECKING:
    import av

__all__ = ["Backdrop", "Still", "VideoLoop", "gradient", "picture"]

SKIP_AHEAD_S = 2.0
"""Further ahead than this the video is sought, not decoded through."""


class Backdrop(Protocol):
    """A picture for each moment."""

    def at(self, pts_ns: int) -> Image:
        """(height, width, 3) BGR; a loan, valid until the next call."""


class Still:
    """The same picture always."""

    def __init__(self, image_bgr: Image) -> None:
        self._image_bgr = image_bgr

    def at(self, pts_ns: int) -> Image:
        return self._image_bgr


def gradient(height: int, width: int) -> Image:
    """A quiet dusk: deep blue to plum to a warm glow low on one side. A fresh array."""
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(0, 1, width, dtype=np.float32)[None, :]
    fall = np.clip(0.82 * y + 0.18 * x, 0, 1)
    stops = np.array([0.0, 0.45, 0.8, 1.0], np.float32)
    tones_bgr = np.array([(58, 26, 14), (96, 45, 44), (132, 78, 120), (150, 128, 196)], np.float32)
    image = np.stack([np.interp(fall, stops, tones_bgr[:, channel]) for channel in range(3)], axis=-1)
    glow = np.exp(-(((x - 0.78) / 0.42) ** 2 + ((y - 0.9) / 0.38) ** 2))[..., None]
    image += glow * np.array([20, 52, 78], np.float32)
    edge = 1 - 0.28 * np.clip((x - 0.5) ** 2 * 2 + (y - 0.5) ** 2 * 2, 0, 1)[..., None]
    # Without a level of noise, slow slopes show as bands in eight bits.
    noise = np.random.default_rng(7).uniform(-0.8, 0.8, (height, width, 1))
    return np.clip(np.rint(image * edge + noise), 0, 255).astype(np.uint8)


def picture(path: Path, height: int, width: int) -> Image:
    """An image file, scaled to cover the frame. A fresh array.

    Raises:
        ConfigError: OpenCV cannot read the file.
    """
    image_bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image_bgr is None:
        raise ConfigError(f"backdrop {path}: not an image that OpenCV reads; pass a JPEG, a PNG or a video")
    kept = _kept(np.asarray(image_bgr, np.uint8), height, width)
    rule = cv2.INTER_AREA if kept.shape[0] > height else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(kept, (width, height), interpolation=rule), np.uint8)


class VideoLoop:
    """A video file from its beginning, again and again, by the stream's clock."""

    def __init__(self, path: Path, height: int, width: int) -> None:
        """Open the file and find its first picture.

        Raises:
            ConfigError: FFmpeg cannot read a picture from the file.
        """
        import av

        from pipeline.sources.decoded import ColourWriter, upright_size

        self._failure = av.FFmpegError
        self._image_bgr: Image = np.zeros((height, width, 3), np.uint8)
        self._writer = ColourWriter()
        try:
            self._container = av.open(str(path))
            self._stream = self._container.streams.video[0]
            self._stream.thread_count = 1
            self._frames = self._container.decode(self._stream)
            first = next(self._frames)
        except (av.FFmpegError, OSError, IndexError, StopIteration) as error:
            why = f"no video that FFmpeg reads ({str(error) or 'no video stream, or no frame in it'})"
            raise ConfigError(f"backdrop {path}: {why}; pass an image or a video") from error
        native_width, native_height = upright_size(first)
        self._native_bgr: Image = np.empty((native_height, native_width, 3), np.uint8)
        self._start_s = first.time or 0.0
        self._coming: av.VideoFrame | None = first
        self._length_s: float | None = None
        self._shown_s = -1.0
        self._show(first)

    def at(self, pts_ns: int) -> Image:
        wanted_s = max(pts_ns, 0) / 1e9
        if self._length_s is not None:
            wanted_s %= self._length_s
        lies_far_ahead = self._coming is not None and wanted_s > self._time_of(self._coming) + SKIP_AHEAD_S
        if wanted_s < self._shown_s or lies_far_ahead:
            self._seek(wanted_s)
        while self._coming is not None and self._time_of(self._coming) <= wanted_s:
            frame, self._coming = self._coming, self._next()
            if self._coming is None or self._time_of(self._coming) > wanted_s:
                self._show(frame)
            self._shown_s = self._time_of(frame)
        if self._coming is None and self._length_s is None:
            # The end was reached for the first time: now the length is known, and the loop begins.
            self._length_s = max(self._shown_s + float(1 / (self._stream.average_rate or 25)), 0.04)
            if wanted_s >= self._length_s:
                return self.at(pts_ns)
        return self._image_bgr

    def _time_of(self, frame: "av.VideoFrame") -> float:
        return (frame.time or 0.0) - self._start_s

    def _next(self) -> "av.VideoFrame | None":
        try:
            return next(self._frames, None)
        except self._failure:
            # A file that breaks off in the middle loops over what it has.
            return None

    def _seek(self, wanted_s: float) -> None:
        base = self._stream.time_base or 1
        self._shown_s = -1.0
        try:
            self._container.seek(int((wanted_s + self._start_s) / base), stream=self._stream)
        except self._failure:
            # A format without a way back stays at its last picture.
            self._coming = None
            return
        self._frames = self._container.decode(self._stream)
        self._coming = self._next()

    def _show(self, frame: "av.VideoFrame") -> None:
        height, width = self._image_bgr.shape[:2]
        self._writer.write(frame, self._native_bgr)
        kept = _kept(self._native_bgr, height, width)
        rule = cv2.INTER_AREA if kept.shape[0] >= 2 * height else cv2.INTER_LINEAR
        cv2.resize(kept, (width, height), dst=self._image_bgr, interpolation=rule)


def _kept(image_bgr: Image, height: int, width: int) -> Image:
    """The largest part in the middle that has the frame's aspect: a view."""
    high, wide = image_bgr.shape[:2]
    scale = max(height / high, width / wide)
    kept_high, kept_wide = min(high, max(1, round(height / scale))), min(wide, max(1, round(width / scale)))
    top, left = (high - kept_high) // 2, (wide - kept_wide) // 2
    return image_bgr[top : top + kept_high, left : left + kept_wide]
