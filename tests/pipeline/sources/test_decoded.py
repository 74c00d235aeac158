"""Colour: the stream's tag decides, untagged is BT.601, and every path keeps to the formula."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.sources.decoded import ColourWriter
from pipeline.sources.file import FileOptions
from tests.pipeline.sources.clips import BT601, BT709, FULL, LIMITED, images, write_clip

UNTAGGED = 2
UNSPECIFIED_RANGE = 0

# Weights of red and blue in luma, by FFmpeg's number of the matrix (ITU-R BT.601 and BT.709).
WEIGHTS = {UNTAGGED: (0.299, 0.114), BT601: (0.299, 0.114), 6: (0.299, 0.114), BT709: (0.2126, 0.0722)}


def _picture(matrix: int, spread: int, width: int = 64, height: int = 48) -> Any:
    """A yuv420p picture with many colours, all of them inside the cube."""
    rng = np.random.default_rng(3)
    luma = rng.integers(70, 180, (height, width), np.uint8)
    chroma = rng.integers(100, 156, (height // 2, width), np.uint8)
    picture = av.VideoFrame.from_ndarray(np.vstack([luma, chroma]), format="yuv420p")
    picture.colorspace, picture.color_range = matrix, spread
    return picture


def _by_the_formula(picture: Any, matrix: int, is_full: bool) -> NDArray[np.float64]:
    """BGR by ITU-R BT.601/709, chroma repeated, as both converters do."""
    flat = picture.to_ndarray().astype(np.float64)
    height, width = picture.height, picture.width
    luma = flat[:height]
    blue_chroma, red_chroma = (
        plane.reshape(height // 2, width // 2).repeat(2, 0).repeat(2, 1) - 128 for plane in flat[height:].reshape(2, -1)
    )
    if not is_full:
        luma = (luma - 16) * 255 / 219
        blue_chroma, red_chroma = blue_chroma * 255 / 224, red_chroma * 255 / 224
    red_weight, blue_weight = WEIGHTS[matrix]
    red = luma + 2 * (1 - red_weight) * red_chroma
    blue = luma + 2 * (1 - blue_weight) * blue_chroma
    green = (luma - red_weight * red - blue_weight * blue) / (1 - red_weight - blue_weight)
    return np.clip(np.stack([blue, green, red], axis=2), 0, 255)


@pytest.mark.parametrize("matrix", [UNTAGGED, BT601, 6, BT709])
@pytest.mark.parametrize("spread", [UNSPECIFIED_RANGE, LIMITED, FULL])
def test_colour_follows_the_tag(matrix: int, spread: int) -> None:
    """Every matrix and range gives the colours of its formula; without tags it is BT.601 limited."""
    picture = _picture(matrix, spread)
    image_bgr = np.empty((48, 64, 3), np.uint8)

    ColourWriter().write(picture, image_bgr)

    wrong = image_bgr - _by_the_formula(picture, matrix, is_full=spread == FULL)
    # swscale rounds down in each of its steps: up to 3 levels too dark, 1 on average.
    assert np.abs(wrong).max() <= 3.5
    assert np.abs(wrong.mean()) <= 1.5


def test_plain_video_takes_the_exact_path() -> None:
    """BT.601 limited, what most cameras send, is converted without swscale's darkening."""
    picture = _picture(UNTAGGED, LIMITED)
    image_bgr = np.empty((48, 64, 3), np.uint8)

    ColourWriter().write(picture, image_bgr)

    wrong = image_bgr - _by_the_formula(picture, UNTAGGED, is_full=False)
    assert np.abs(wrong).max() <= 1.5
    assert np.abs(wrong.mean()) <= 0.2


def test_an_unknown_matrix_is_read_as_bt601() -> None:
    """A reserved tag, which swscale refuses, still gives a picture."""
    picture = _picture(3, LIMITED)
    image_bgr = np.zeros((48, 64, 3), np.uint8)

    ColourWriter().write(picture, image_bgr)

    wrong = image_bgr - _by_the_formula(picture, BT601, is_full=False)
    assert np.abs(wrong).max() <= 3.5


def test_a_slot_that_is_not_contiguous_is_written() -> None:
    """A view with gaps between its rows gets the same pixels as a plain array."""
    picture = _picture(UNTAGGED, LIMITED)
    wide = np.full((48, 80, 3), 9, np.uint8)
    plain = np.empty((48, 64, 3), np.uint8)

    ColourWriter().write(picture, wide[:, 8:72])
    ColourWriter().write(picture, plain)

    assert np.abs(wide[:, 8:72].astype(int) - plain).max() <= 3  # two paths, see above
    assert (wide[:, :8] == 9).all()
    assert (wide[:, 72:] == 9).all()


@pytest.mark.parametrize("colour", [(BT601, LIMITED), (BT709, LIMITED), (BT601, FULL), (BT709, FULL)])
def test_a_tagged_file_shows_the_colours_it_was_made_of(tmp_path: Path, colour: tuple[int, int]) -> None:
    """Through a file, tag and all: the painted colours come back, whatever the matrix and range."""
    path = write_clip(tmp_path / "a.mp4", 2, colour=colour, options={"crf": "1", "preset": "ultrafast"})

    source = FileOptions(path=str(path)).open()
    image_bgr = images(source)[0]

    # 6 levels: 8-bit YUV, twice; BT.601 read as BT.709 is off by 18 here, limited read as full by 16.
    assert np.abs(image_bgr[200:220, 220:300].astype(int) - (30, 60, 200)).max() <= 6
    assert np.abs(image_bgr[200:220, 20:100].astype(int) - (160, 90, 40)).max() <= 6
    assert ("BT.709" if colour[0] == BT709 else "BT.601") in source.format.granted
    assert ("full" if colour[1] == FULL else "limited") in source.format.granted


def test_what_a_gpu_decoded_has_the_same_colours() -> None:
    """NVDEC gives NV12, the same samples with blue and red chroma in turns: not a bit differs."""
    picture = _picture(BT601, LIMITED)
    interleaved = picture.reformat(format="nv12")
    planar_bgr, interleaved_bgr = np.empty((48, 64, 3), np.uint8), np.empty((48, 64, 3), np.uint8)

    ColourWriter().write(picture, planar_bgr)
    ColourWriter().write(interleaved, interleaved_bgr)

    assert interleaved.format.name == "nv12"
    assert np.array_equal(planar_bgr, interleaved_bgr)
