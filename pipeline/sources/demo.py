"""A moving shot made at run time: a virtual hand-held camera over a portrait, the same at every start.

The portrait (`astronaut.jpg`) is NASA's picture of Eileen Collins, in the public domain, taken over from
scikit-image. `homography` knows exactly where every point of it lies in every frame. The motion is a sum of
sines of unrelated periods: it never repeats and has no seam.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.errors import SourceCause, SourceUnavailable
from pipeline.frame import StreamFormat
from pipeline.sources.source import Grabbed, Image, OnEvent, SourceOptions, ignore_event, letterbox_into, nominal_rate
from pipeline.sources.synthetic import pts_ns

__all__ = ["DemoOptions", "DemoSource", "homography"]

PORTRAIT = Path(__file__).with_name("astronaut.jpg")
PORTRAIT_PX = 512
"""Its side."""
ENLARGED = 3
"""The portrait is enlarged once, smoothly; a plain bilinear warp of it then looks as good as a cubic one."""

VIEW_PX = 456
"""Width of what the camera sees, in portrait pixels: head and shoulders in a wide frame."""
TALLEST_VIEW_PX = 470
CENTRE_X_PX, CENTRE_Y_PX = 256.0, 147.0
"""Where the camera looks in a wide frame, in portrait pixels."""

NOISE_MARGIN_PX = 64


class DemoOptions(SourceOptions):
    """A hand-held shot of a portrait, no camera needed: demo[:WxH[@FPS]][?seconds=10&noise=3]."""

    width: int = Field(1280, ge=64, le=16384)
    """In pixels."""
    height: int = Field(720, ge=64, le=16384)
    """In pixels."""
    rate_hz: float = Field(30.0, gt=0, le=1000)
    """Frames a second."""
    seconds: float | None = Field(None, gt=0)
    """Ends after so long; None never ends."""
    noise: float = Field(0.0, ge=0, le=50)
    """Standard deviation of the sensor noise, in levels of 255; it makes a clip as hard to code as a camera's."""

    def open(self) -> "DemoSource":
        """Load the portrait.

        Raises:
            SourceUnavailable: the installation lacks the portrait.
        """
        return DemoSource(self)


class DemoSource:
    """An open shot; at the pace of whoever grabs."""

    def __init__(self, options: DemoOptions) -> None:
        self.on_event: OnEvent = ignore_event
        rate_hz = nominal_rate(options.rate_hz)
        n_frames = None if options.seconds is None else max(1, round(options.seconds * rate_hz))
        self.format = StreamFormat(
            width=options.width,
            height=options.height,
            rate_hz=rate_hz,
            is_live=False,
            source="demo",
            n_frames=n_frames,
        )
        self._n_grabbed = 0
        self._is_closed = False
        self._portrait_bgra = _portrait()
        self._warped_bgra = np.empty((options.height, options.width, 4), np.uint8)
        self._noise = _noise(options.height, options.width, options.noise) if options.noise else None

    def grab(self) -> Grabbed | None:
        """The next frame; drawn when it is copied into a slot."""
        sequence, n_frames = self._n_grabbed, self.format.n_frames
        if self._is_closed or (n_frames is not None and sequence >= n_frames):
            return None
        self._n_grabbed += 1
        return _Shot(sequence, pts_ns(sequence, self.format.rate_hz), self)

    def close(self) -> None:
        """End it."""
        self._is_closed = True

    def draw(self, sequence: int, image_bgr: Image) -> None:
        """One frame into (height, width, 3) of the format's size."""
        size = (self.format.width, self.format.height)
        enlarged = homography(sequence, self.format) @ _SHRINK
        # Four channels: OpenCV's bilinear warp takes 2.0 ms for BGRA and 5.0 ms for BGR at 720p.
        cv2.warpPerspective(
            self._portrait_bgra,
            enlarged,
            size,
            dst=self._warped_bgra,
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        )
        cv2.cvtColor(self._warped_bgra, cv2.COLOR_BGRA2BGR, dst=image_bgr)
        if self._noise is not None:
            height, width = image_bgr.shape[:2]
            # Knuth's multiplicative hash: another piece of the same noise for every frame.
            place = sequence * 2_654_435_761 & 0xFFFFFFFF
            y, x = (place >> 16) % NOISE_MARGIN_PX, (place >> 24) % NOISE_MARGIN_PX
            brighter, darker = (plane[y : y + height, x : x + width] for plane in self._noise)
            cv2.add(image_bgr, brighter, dst=image_bgr)
            cv2.subtract(image_bgr, darker, dst=image_bgr)


@dataclass(frozen=True, slots=True)
class _Shot:
    sequence: int
    pts_ns: int
    source: DemoSource
    after_gap: bool = False

    def copy_into(self, image_bgr: Image) -> None:
        format = self.source.format
        if image_bgr.shape == (format.height, format.width, 3) and image_bgr.flags.c_contiguous:
            self.source.draw(self.sequence, image_bgr)
            return
        picture_bgr = np.empty((format.height, format.width, 3), np.uint8)
        self.source.draw(self.sequence, picture_bgr)
        letterbox_into(picture_bgr, image_bgr)


def homography(sequence: int, format: StreamFormat) -> NDArray[np.float64]:
    """(3, 3): from pixels of the portrait (512x512) to pixels of frame `sequence`.

    From frame a to frame b it is `homography(b) @ inv(homography(a))`.
    """
    t = float(sequence / format.rate_hz)
    zoom = max(format.width / VIEW_PX, format.height / TALLEST_VIEW_PX)
    view_height_px = format.height / zoom
    middle_y = min(max(CENTRE_Y_PX, view_height_px / 2 + 20), PORTRAIT_PX / 2)
    # Slow drift, and the tremor of a hand above it; amplitudes in portrait pixels, frequencies in radians a second.
    x = CENTRE_X_PX + 11.0 * math.sin(0.83 * t) + 4.0 * math.sin(1.87 * t + 1.0) + 0.5 * math.sin(9.1 * t)
    y = middle_y + 5.0 * math.sin(0.61 * t + 0.5) + 2.5 * math.sin(1.43 * t) + 0.5 * math.sin(8.3 * t + 2.0)
    zoom *= 1.025 + 0.025 * math.sin(0.47 * t + 0.3)
    turn = math.radians(0.9 * math.sin(0.71 * t + 0.8) + 0.08 * math.sin(7.7 * t))
    tilt_x, tilt_y = 2e-5 * math.sin(0.53 * t), 2e-5 * math.sin(0.39 * t + 1.2)
    to_centre = np.array([[1, 0, -x], [0, 1, -y], [0, 0, 1]])
    view = np.array(
        [
            [zoom * math.cos(turn), -zoom * math.sin(turn), 0],
            [zoom * math.sin(turn), zoom * math.cos(turn), 0],
            [tilt_x, tilt_y, 1],
        ]
    )
    to_frame = np.array([[1, 0, (format.width - 1) / 2], [0, 1, (format.height - 1) / 2], [0, 0, 1]])
    return np.asarray(to_frame @ view @ to_centre, np.float64)


# From pixels of the enlarged portrait to pixels of the portrait, centres on centres.
_SHRINK = np.array([[1 / ENLARGED, 0, 0.5 / ENLARGED - 0.5], [0, 1 / ENLARGED, 0.5 / ENLARGED - 0.5], [0, 0, 1]])


def _portrait() -> NDArray[np.uint8]:
    image_bgr = cv2.imread(str(PORTRAIT))
    if image_bgr is None:
        raise SourceUnavailable(
            f"{PORTRAIT}: missing or damaged; install segstream again: pip install --force-reinstall .",
            SourceCause.NOT_FOUND,
        )
    side = PORTRAIT_PX * ENLARGED
    large = cv2.resize(image_bgr, (side, side), interpolation=cv2.INTER_LANCZOS4)
    return np.asarray(cv2.cvtColor(large, cv2.COLOR_BGR2BGRA), np.uint8)


def _noise(height: int, width: int, sigma: float) -> tuple[Image, Image]:
    """What is added and what is taken away, larger than a frame so that pieces of it can be used."""
    shape = (height + NOISE_MARGIN_PX, width + NOISE_MARGIN_PX, 3)
    noise = np.random.default_rng(7).standard_normal(shape, np.float32) * sigma
    brighter = np.clip(np.rint(noise), 0, 255).astype(np.uint8)
    darker = np.clip(np.rint(-noise), 0, 255).astype(np.uint8)
    return brighter, darker
