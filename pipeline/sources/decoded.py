"""Frames that FFmpeg decoded, and the one place where their colour becomes BGR in a slot.

Untagged video is BT.601 limited, whatever its size. Two paths, chosen by measurement (720p, one core of an
EPYC; error against the exact formula): OpenCV's I420 kernel 0.36 ms, bias -0.05 level, but it knows only
BT.601 limited (and its NV12 kernel the same, to the bit); swscale's default path 0.34 ms with the copy, bias
-1 level (its arithmetic rounds down), every matrix, range and pixel format. swscale with accurate rounding
costs 1.2 to 4.5 ms and is not used.
"""

import threading
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.size import Size
from pipeline.sources.source import Image, fit_inside

__all__ = ["ColourWriter", "DecodedFrame", "colour_told", "upright_size"]

AVCOL_RANGE_JPEG = 2
BT601_MATRICES = (2, 5, 6)
"""FFmpeg's numbers for unspecified, BT.470BG and SMPTE 170M: one and the same arithmetic."""
SWS_CS_ITU601 = 5

_MATRIX_NAMES = {0: "RGB", 1: "BT.709", 2: "untagged (BT.601)", 5: "BT.601", 6: "BT.601", 9: "BT.2020"}
_OPENCV = {"yuv420p": cv2.COLOR_YUV2BGR_I420, "nv12": cv2.COLOR_YUV2BGR_NV12}
"""What OpenCV converts straight into the slot; NV12 is what comes from a GPU."""
_TURNS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """A frame of PyAV with its rebased time; keeps the decoder's buffer alive until it is let go."""

    picture: Any
    """`av.VideoFrame`."""
    pts_ns: int
    writer: "ColourWriter"
    after_gap: bool = False

    def copy_into(self, image_bgr: Image) -> None:
        """Convert into the slot; letterboxed when the size differs."""
        self.writer.write(self.picture, image_bgr)


def _turn(picture: Any) -> int:
    """Counter-clockwise degrees to make the picture upright, from the display matrix: 0, 90, 180 or 270."""
    return int(round(picture.rotation / 90) % 4 * 90)


def upright_size(picture: Any) -> Size:
    """As it should be seen."""
    if _turn(picture) in (90, 270):
        return Size(picture.height, picture.width)
    return Size(picture.width, picture.height)


def colour_told(picture: Any) -> str:
    """`yuv420p BT.709 limited`, for the report."""
    matrix = _MATRIX_NAMES.get(int(picture.colorspace), f"matrix {int(picture.colorspace)}")
    spread = "full" if _is_full_range(picture) else "limited"
    return f"{picture.format.name} {matrix} {spread}"


def _is_full_range(picture: Any) -> bool:
    return int(picture.color_range) == AVCOL_RANGE_JPEG or picture.format.name.startswith("yuvj")


class ColourWriter:
    """Writes decoded pictures into slots; one per open source, it keeps swscale's tables between frames."""

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()
        self._lock = threading.Lock()

    def write(self, picture: Any, image_bgr: Image) -> None:
        """Convert `picture` (`av.VideoFrame`) into (height, width, 3) BGR, upright, letterboxed if it must be."""
        with self._lock:
            height, width = image_bgr.shape[:2]
            turn = _turn(picture)
            if turn == 0 and (picture.width, picture.height) == (width, height):
                self._write_same_size(picture, image_bgr)
                return
            upright_width, upright_height = upright_size(picture)
            x, y, inner_width, inner_height = fit_inside(upright_width, upright_height, image_bgr)
            if (inner_width, inner_height) != (width, height):
                image_bgr[...] = 0
            sides = (inner_height, inner_width) if turn in (90, 270) else (inner_width, inner_height)
            bgr = self._swscale(picture, *sides)
            upright = cv2.rotate(bgr, _TURNS[turn]) if turn else bgr
            image_bgr[y : y + inner_height, x : x + inner_width] = upright

    def _write_same_size(self, picture: Any, image_bgr: Image) -> None:
        conversion = _OPENCV.get(picture.format.name)
        is_plain = (
            conversion is not None
            and int(picture.colorspace) in BT601_MATRICES
            and not _is_full_range(picture)
            and picture.width % 2 == 0
            and picture.height % 2 == 0
            and image_bgr.flags.c_contiguous
        )
        if is_plain:
            assert conversion is not None
            cv2.cvtColor(picture.to_ndarray(), conversion, dst=image_bgr)
        else:
            np.copyto(image_bgr, self._swscale(picture, picture.width, picture.height))

    def _swscale(self, picture: Any, width: int, height: int) -> NDArray[np.uint8]:
        from av.error import FFmpegError

        try:
            scaled = self._reformatter.reformat(picture, width, height, "bgr24", threads=1)
        except FFmpegError:
            # swscale refuses matrices that are reserved or that it does not know: a picture in slightly wrong
            # colours is better than none.
            scaled = self._reformatter.reformat(picture, width, height, "bgr24", SWS_CS_ITU601, threads=1)
        plane: Any = scaled.planes[0]
        rows: NDArray[np.uint8] = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        return rows[:height, : width * 3].reshape(height, width, 3)
