"""The seam between capture and what it reads: `SourceOptions.open()` gives a `Source`, a source gives `Grabbed`.

A grabbed frame is still in the reader's own form: colour is converted when `copy_into` writes the slot, so a
frame that is dropped costs no conversion. Several grabbed frames may be alive at once, but `copy_into` of one
source is called by one thread at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Protocol, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from configs import ConfigError, Options
from engines.size import Size
from pipeline.frame import StreamFormat

__all__ = [
    "Grabbed",
    "Image",
    "OnEvent",
    "Source",
    "SourceOptions",
    "Wanted",
    "fit_inside",
    "ignore_event",
    "letterbox_into",
    "nominal_rate",
]

Image = NDArray[np.uint8]
"""(height, width, 3), BGR."""

OnEvent = Callable[[str, str], None]
"""`on_event(what, why)`: something worth a line in the report, such as ("source back", "after 2.1 s")."""


def ignore_event(what: str, why: str) -> None:
    """What a source calls until somebody listens."""


class Grabbed(Protocol):
    """One frame of a source, independent of the reader."""

    @property
    def pts_ns(self) -> int:
        """On the source's clock, rebased to 0, continued over reconnects, always rising."""

    @property
    def after_gap(self) -> bool:
        """True for the first frame after the source was reopened: forget what was remembered of earlier ones."""

    def copy_into(self, image_bgr: Image) -> None:
        """Write the pixels into (height, width, 3); black bars where this frame has another shape."""


class Source(Protocol):
    """Opened. `grab` belongs to one reader thread, `close` may come from any."""

    format: StreamFormat
    on_event: OnEvent
    """Set by whoever reports; called from the reader's thread."""

    def grab(self) -> Grabbed | None:
        """The next frame; blocks for it. None is the regular end, also after `close`.

        Raises:
            SourceLost: the source was open and gives no more frames, though it should.
        """

    def close(self) -> None:
        """Release it; a `grab` that waits returns None soon. Calling it twice is fine."""


class SourceOptions(Options):
    """Base of the options of one kind of source."""

    is_live: ClassVar[bool] = False
    """True for what does not wait: a run of it is live unless asked otherwise."""

    def open(self) -> Source:
        """Open it.

        Raises:
            SourceUnavailable: with its cause, and what to do in the message.
        """
        raise TypeError(f"{type(self).__name__} has no open()")


@dataclass(frozen=True)
class Wanted:
    """What `--size` asks for; None leaves it to the source."""

    width: int | None = None
    height: int | None = None
    rate_hz: float | None = None

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read `WxH`, `WxH@FPS` or `@FPS`.

        Raises:
            ConfigError: it is none of these, or a number is not positive.
        """
        size, at, rate = text.strip().partition("@")
        try:
            width, height = Size.from_text(size) if size or not at else (None, None)
            rate_hz = float(rate) if at else None
            if rate_hz is not None and not 0 < rate_hz < 100_000:
                raise ValueError(rate)
        except ValueError:
            raise ConfigError(
                f"size {text!r}: expected WxH, WxH@FPS or @FPS with numbers above 0, such as 1280x720@30"
            ) from None
        return cls(width, height, rate_hz)


def nominal_rate(rate_hz: float) -> Fraction:
    """Frames a second as a fraction; 29.97 becomes 30000/1001."""
    for whole in (24, 30, 60, 120):
        if abs(rate_hz - whole * 1000 / 1001) < 0.005:
            return Fraction(whole * 1000, 1001)
    return Fraction(rate_hz).limit_denominator(1000)


def fit_inside(width: int, height: int, image_bgr: Image) -> tuple[int, int, int, int]:
    """The largest centred (x, y, width, height) of that aspect inside an image."""
    outer_height, outer_width = image_bgr.shape[:2]
    scale = min(outer_width / width, outer_height / height)
    inner_width = min(outer_width, max(1, round(width * scale)))
    inner_height = min(outer_height, max(1, round(height * scale)))
    return (outer_width - inner_width) // 2, (outer_height - inner_height) // 2, inner_width, inner_height


def letterbox_into(picture_bgr: Image, image_bgr: Image) -> None:
    """Copy a picture of any size into an image, scaled to fit, bars black."""
    if picture_bgr.shape == image_bgr.shape:
        np.copyto(image_bgr, picture_bgr)
        return
    x, y, width, height = fit_inside(picture_bgr.shape[1], picture_bgr.shape[0], image_bgr)
    smaller = width < picture_bgr.shape[1]
    scaled = cv2.resize(picture_bgr, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    image_bgr[...] = 0
    image_bgr[y : y + height, x : x + width] = scaled
