"""Pictures that can be checked: the frame number as blocks, and a moving shape of one exact colour.

The blocks say which frame a picture is, after H.264, scaling by a half or a blur; the shape says whether a
mask belongs to the picture it lies on, because `shape_mask` knows it for every frame number.
"""

import binascii
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from engines.runtime.fake_engine import SHAPE_BGR
from pipeline.frame import StreamFormat
from pipeline.sources.source import Grabbed, Image, OnEvent, SourceOptions, ignore_event, letterbox_into, nominal_rate

__all__ = [
    "SHAPE_BGR",
    "SyntheticOptions",
    "SyntheticSource",
    "paint_number",
    "read_number",
    "shape_box",
    "shape_mask",
]

DEFAULT_SPEED_PX_S = 300.0

CODE_COLUMNS, CODE_ROWS = 12, 4
"""48 cells: 32 bits of number, 16 check bits."""
CELLS_ACROSS = 40
"""A cell is a fortieth of the width, so the code scales with the picture; 32 px at 1280."""
DARK, BRIGHT = 24, 232
MIN_CONTRAST = 40


class SyntheticOptions(SourceOptions):
    """Painted frame numbers and a moving shape: synthetic[:WxH[@FPS]][?speed=2000&frames=1000]."""

    width: int = Field(1280, ge=80, le=16384)
    """In pixels; at least 80, below that the blocks cannot be told apart."""
    height: int = Field(720, ge=60, le=16384)
    """In pixels."""
    rate_hz: float = Field(30.0, gt=0, le=1000)
    """Frames a second."""
    speed_px_s: float = Field(DEFAULT_SPEED_PX_S, ge=0)
    """How fast the shape moves along x; along y it is a bit slower."""
    frames: int | None = Field(None, gt=0)
    """Ends after so many; None never ends."""

    def open(self) -> "SyntheticSource":
        """Paint the background; cannot fail."""
        return SyntheticSource(self)


class SyntheticSource:
    """An open painter; deterministic, at the pace of whoever grabs."""

    def __init__(self, options: SyntheticOptions) -> None:
        self.on_event: OnEvent = ignore_event
        self.format = StreamFormat(
            width=options.width,
            height=options.height,
            rate_hz=nominal_rate(options.rate_hz),
            is_live=False,
            source="synthetic",
            n_frames=options.frames,
        )
        self._speed_px_s = options.speed_px_s
        self._frames = options.frames
        self._n_grabbed = 0
        self._is_closed = False
        self._background_bgr = background(options.width, options.height)

    def grab(self) -> Grabbed | None:
        """The next frame; painted when it is copied into a slot."""
        sequence = self._n_grabbed
        if self._is_closed or (self._frames is not None and sequence >= self._frames):
            return None
        self._n_grabbed += 1
        return _Painted(sequence, pts_ns(sequence, self.format.rate_hz), self)

    def close(self) -> None:
        """End it."""
        self._is_closed = True

    def paint(self, sequence: int, image_bgr: Image) -> None:
        """One frame into (height, width, 3) of the format's size."""
        np.copyto(image_bgr, self._background_bgr)
        x, y, width, height = shape_box(sequence, self.format, self._speed_px_s)
        image_bgr[y : y + height, x : x + width] = SHAPE_BGR
        paint_number(image_bgr, sequence)


@dataclass(frozen=True, slots=True)
class _Painted:
    sequence: int
    pts_ns: int
    source: SyntheticSource
    after_gap: bool = False

    def copy_into(self, image_bgr: Image) -> None:
        format = self.source.format
        if image_bgr.shape == (format.height, format.width, 3):
            self.source.paint(self.sequence, image_bgr)
            return
        picture_bgr = np.empty((format.height, format.width, 3), np.uint8)
        self.source.paint(self.sequence, picture_bgr)
        letterbox_into(picture_bgr, image_bgr)


def pts_ns(sequence: int, rate_hz: Fraction) -> int:
    """Time of a frame at a steady rate."""
    return sequence * 1_000_000_000 * rate_hz.denominator // rate_hz.numerator


def background(width: int, height: int) -> Image:
    """A grey texture, the same at every start; no pixel has the shape's colour."""
    coarse = np.random.default_rng(2024).integers(70, 170, (max(2, height // 24), max(2, width // 24)), np.uint8)
    grey = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.repeat(grey[:, :, None], 3, axis=2)


def shape_box(sequence: int, format: StreamFormat, speed_px_s: float = DEFAULT_SPEED_PX_S) -> tuple[int, int, int, int]:
    """(x, y, width, height) of the shape in frame `sequence`: it bounces below the number, always whole."""
    width, height = format.width // 5, format.height // 3
    top = CODE_ROWS * format.width // CELLS_ACROSS + 2
    top = min(top, format.height - height)
    travelled_px = speed_px_s * pts_ns(sequence, format.rate_hz) / 1e9
    x = _bounce(travelled_px, format.width - width)
    y = top + _bounce(0.37 * travelled_px, format.height - height - top)
    return x, y, width, height


def shape_mask(sequence: int, format: StreamFormat, speed_px_s: float = DEFAULT_SPEED_PX_S) -> NDArray[np.bool_]:
    """(height, width) bool: where the shape can be seen in frame `sequence`; the number covers it."""
    x, y, width, height = shape_box(sequence, format, speed_px_s)
    mask = np.zeros((format.height, format.width), np.bool_)
    mask[y : y + height, x : x + width] = True
    columns, rows = _code_size(format.width, format.height)
    mask[:rows, :columns] = False
    return mask


def paint_number(image_bgr: Image, number: int) -> None:
    """Paint a number below 2**32 into the top left corner of (height, width, 3)."""
    number &= 0xFFFFFFFF
    value = number << 16 | _check(number)
    bits = np.array([value >> shift & 1 for shift in range(CODE_COLUMNS * CODE_ROWS - 1, -1, -1)], np.uint8)
    cells = (DARK + bits * (BRIGHT - DARK)).reshape(CODE_ROWS, CODE_COLUMNS)
    columns, rows = _code_size(image_bgr.shape[1], image_bgr.shape[0])
    code = cv2.resize(cells, (columns, rows), interpolation=cv2.INTER_NEAREST_EXACT)
    image_bgr[:rows, :columns] = code[:, :, None]


def read_number(image_bgr: Image) -> int | None:
    """Read a painted number back from (height, width, 3); None where there is none or it is damaged.

    Works at any scale of the painted picture, but not through letterbox bars.
    """
    columns, rows = _code_size(image_bgr.shape[1], image_bgr.shape[0])
    grey = image_bgr[:rows, :columns].mean(axis=2)
    levels = np.empty((CODE_ROWS, CODE_COLUMNS))
    cell_width, cell_height = columns / CODE_COLUMNS, rows / CODE_ROWS
    for row in range(CODE_ROWS):
        for column in range(CODE_COLUMNS):
            # The middle half of a cell: its edges are where codecs and scaling smear.
            y, x = _middle(row, cell_height), _middle(column, cell_width)
            levels[row, column] = grey[y, x].mean()
    low, high = levels.min(), levels.max()
    if high - low < MIN_CONTRAST:
        return None
    value = 0
    for level in levels.ravel():
        value = value << 1 | int(level > (low + high) / 2)
    number, check = value >> 16, value & 0xFFFF
    return number if check == _check(number) else None


def _check(number: int) -> int:
    return binascii.crc_hqx(number.to_bytes(4, "big"), 0x5E61)


def _code_size(width: int, height: int) -> tuple[int, int]:
    """(columns, rows) in pixels."""
    return round(width * CODE_COLUMNS / CELLS_ACROSS), min(height, round(width * CODE_ROWS / CELLS_ACROSS))


def _middle(index: int, cell_px: float) -> slice:
    start = int((index + 0.25) * cell_px)
    return slice(start, max(start + 1, int((index + 0.75) * cell_px)))


def _bounce(travelled_px: float, span_px: int) -> int:
    if span_px <= 0:
        return 0
    place = travelled_px % (2 * span_px)
    return int(min(place, 2 * span_px - place))
