"""What compression leaves behind: a JPEG's blocks, or those of a real H.264 stream.

H.264 is encoded for the crop alone, two frames of a moving camera, and the second is kept: predicted blocks look
unlike a still picture's. The trap: the first frame is the crop moved by a few pixels, so labels fit the second only.
"""

from fractions import Fraction

import av
import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

from engines.data.transforms.options import Augment
from engines.errors import DataError

__all__ = ["h264", "through_codec"]

Image = NDArray[np.uint8]
MOST_MOTION_PX = 6


def through_codec(image_bgr: Image, config: Augment, rng: np.random.Generator) -> Image:
    """Through JPEG (an MJPEG webcam), H.264 (a stream), both, or neither."""
    if rng.random() < config.jpeg_share:
        quality = int(rng.integers(config.jpeg_quality_min, 96))
        _, packed = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image_bgr = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
    if rng.random() < config.h264_share:
        motion = rng.uniform(-MOST_MOTION_PX, MOST_MOTION_PX, 2)
        image_bgr = h264(image_bgr, int(rng.integers(config.crf_min, config.crf_max + 1)), motion)
    return image_bgr


def h264(image_bgr: Image, crf: int, motion: NDArray[np.float64]) -> Image:
    """The picture as the second frame of an H.264 stream whose camera moved by `motion` (x, y; pixels).

    Args:
        image_bgr: (height, width, 3) uint8; both sides even.
        crf: constant rate factor, 0 lossless to 51 worst.

    Raises:
        DataError: this build of FFmpeg cannot encode H.264.
    """
    height, width = image_bgr.shape[:2]
    shift = np.array([[1.0, 0.0, motion[0]], [0.0, 1.0, motion[1]]])
    before = cv2.warpAffine(image_bgr, shift, (width, height), borderMode=cv2.BORDER_REFLECT)
    encoder, decoder = _encoder(height, width, crf), av.CodecContext.create("h264", "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.thread_count = 1
    frames = []
    for index, picture in enumerate((before, image_bgr)):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="bgr24").reformat(format="yuv420p")
        frame.pts = index
        for packet in encoder.encode(frame):
            frames += decoder.decode(packet)
    for packet in encoder.encode(None):
        frames += decoder.decode(packet)
    frames += decoder.decode(None)
    return np.array(frames[-1].to_ndarray(format="bgr24"), np.uint8)


def _encoder(height: int, width: int, crf: int) -> VideoCodecContext:
    try:
        encoder = av.CodecContext.create("libx264", "w")
    except av.codec.codec.UnknownCodecError as error:
        raise DataError("this FFmpeg has no libx264; set augment.h264_share to 0") from error
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.framerate, encoder.thread_count = Fraction(25), 1
    encoder.options = {"crf": str(crf), "preset": "superfast", "tune": "zerolatency"}
    return encoder
