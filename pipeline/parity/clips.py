"""Pictures of one size as a clip: FFV1, which gives back every bit, or H.264 as the sink `file:` writes it.

The trap: yuv420p has no odd sides, so H.264 pictures may come back one pixel wider or higher; the edge is
repeated there, and whoever compares cuts it off.
"""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.frame import StreamFormat
from pipeline.sinks.file import FileOptions
from pipeline.sinks.sink import Shown

__all__ = ["H264_CRF", "write_h264", "write_lossless"]

RATE_HZ = 30
H264_CRF = 18
"""Visually lossless, as libx264's own guide has it; a webcam or an RTSP camera sends less."""

Image = NDArray[np.uint8]


def write_lossless(path: Path, images_bgr: Iterable[Image]) -> None:
    """FFV1 in Matroska, stored as BGR: nothing is converted, nothing rounded.

    Args:
        path: the clip, `.mkv`.
        images_bgr: (height, width, 3) uint8, all of one size.
    """
    import av

    with av.open(str(path), "w", format="matroska") as container:
        stream = None
        for image_bgr in images_bgr:
            if stream is None:
                stream = container.add_stream("ffv1", rate=RATE_HZ)
                stream.height, stream.width = image_bgr.shape[:2]
                stream.pix_fmt = "bgr0"
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image_bgr), format="bgr24")
            container.mux(stream.encode(picture.reformat(format="bgr0")))
        if stream is not None:
            container.mux(stream.encode(None))


def write_h264(path: Path, images_bgr: Iterable[Image]) -> None:
    """By the house's own file sink, tagged and converted as it does.

    Args:
        path: the clip, `.mkv`.
        images_bgr: (height, width, 3) uint8, all of one size.

    Raises:
        SinkError: this PyAV has no libx264.
    """
    sink = None
    for number, image_bgr in enumerate(images_bgr):
        if sink is None:
            height, width = image_bgr.shape[:2]
            format = StreamFormat(width, height, Fraction(RATE_HZ), is_live=False, source="parity")
            options = FileOptions(path=str(path), crf=H264_CRF, audio=False)
            sink = options.open(format, pacing="lossless", announce=lambda _: None)
        sink.accept(Shown(image_bgr, None, number, number * 1_000_000_000 // RATE_HZ, 0, 0))
    if sink is not None:
        sink.close()
