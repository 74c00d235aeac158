"""The painted pictures: numbers that survive what video does to pixels, and a shape whose place is known."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from engines.runtime.fake_engine import SHAPE_BGR
from pipeline.frame import StreamFormat
from pipeline.sources.synthetic import SyntheticOptions, paint_number, read_number, shape_box, shape_mask

NUMBERS = [0, 1, 2, 1000, 123_456_789, 2**31, 2**32 - 1]


def _format(width: int = 640, height: int = 360) -> StreamFormat:
    return StreamFormat(width, height, Fraction(30), is_live=False, source="test")


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("size", [(1280, 720), (854, 480), (320, 240), (80, 60), (1001, 333)])
def test_numbers_are_read_back(number: int, size: tuple[int, int]) -> None:
    """Any 32-bit number at any size from 80 pixels of width."""
    image_bgr = np.full((size[1], size[0], 3), 128, np.uint8)

    paint_number(image_bgr, number)

    assert read_number(image_bgr) == number


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_survive_h264_and_half_the_size(number: int, tmp_path: Path) -> None:
    """A strongly compressed frame, scaled by a half: still the same number."""
    source = SyntheticOptions(width=1280, height=720).open()
    image_bgr = np.empty((720, 1280, 3), np.uint8)
    source.paint(3, image_bgr)
    paint_number(image_bgr, number)
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "40", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image_bgr, format="bgr24")))
        container.mux(stream.encode(None))

    with av.open(str(path)) as container:
        decoded = next(container.decode(video=0)).to_ndarray(format="bgr24")

    assert read_number(decoded) == number
    assert read_number(cv2.resize(decoded, (640, 360), interpolation=cv2.INTER_LINEAR)) == number  # type: ignore[arg-type]


def test_a_blurred_number_is_read_back() -> None:
    """The background effect's default blur does not hide the number at 720p."""
    image_bgr = np.full((720, 1280, 3), 128, np.uint8)
    paint_number(image_bgr, 123_456_789)

    assert read_number(np.asarray(cv2.GaussianBlur(image_bgr, (0, 0), 12), np.uint8)) == 123_456_789


def test_a_damaged_number_is_not_read_as_another() -> None:
    """Any one cell painted over is found by the check bits, the check bits' own cells too."""
    clean = np.full((360, 640, 3), 128, np.uint8)
    paint_number(clean, 987_654)

    for row in range(4):
        for column in range(12):
            image_bgr = clean.copy()
            cell = image_bgr[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16]
            cell[...] = 255 - cell

            assert read_number(image_bgr) is None


def test_a_picture_without_number_has_none() -> None:
    """Flat and noisy pictures are not mistaken for a number."""
    noise = np.random.default_rng(1).integers(0, 255, (360, 640, 3), np.uint8)

    assert read_number(noise) is None
    assert read_number(np.full((360, 640, 3), 90, np.uint8)) is None


@pytest.mark.parametrize("speed_px_s", [0.0, 300.0, 2000.0])
def test_the_mask_is_where_the_shape_is(speed_px_s: float) -> None:
    """In every frame exactly the pixels of the shape's colour are in the analytic mask."""
    source = SyntheticOptions(width=640, height=360, speed_px_s=speed_px_s, frames=120).open()
    image_bgr = np.empty((360, 640, 3), np.uint8)
    for sequence in range(120):
        grabbed = source.grab()
        assert grabbed is not None
        grabbed.copy_into(image_bgr)

        painted = (image_bgr == np.array(SHAPE_BGR, np.uint8)).all(axis=2)

        assert np.array_equal(painted, shape_mask(sequence, source.format, speed_px_s))
        assert painted.any()
        assert read_number(image_bgr) == sequence
    assert source.grab() is None


def test_the_shape_moves_at_its_speed() -> None:
    """2000 px/s is 66 or 67 pixels from frame to frame, until it bounces."""
    first, second = (shape_box(sequence, _format(1280, 720), 2000.0) for sequence in (0, 1))

    assert second[0] - first[0] in (66, 67)


def test_the_shape_stays_in_the_picture() -> None:
    """It bounces: whole at every moment, also after hours."""
    for sequence in (*range(300), 1_000_000, 1_000_001):
        x, y, width, height = shape_box(sequence, _format(), 777.0)

        assert 0 <= x <= 640 - width
        assert 0 <= y <= 360 - height


def test_time_is_steady_and_the_same_at_every_start() -> None:
    """Frame n is at n / rate; two sources paint the same."""
    first, second = (SyntheticOptions(width=320, height=240, rate_hz=29.97, frames=3).open() for _ in range(2))
    one, two = (np.empty((240, 320, 3), np.uint8) for _ in range(2))
    for sequence in range(3):
        left, right = first.grab(), second.grab()
        assert left is not None
        assert right is not None
        left.copy_into(one)
        right.copy_into(two)

        assert left.pts_ns == sequence * 1001 * 1_000_000_000 // 30000
        assert np.array_equal(one, two)


def test_a_slot_of_another_size_is_letterboxed() -> None:
    """The picture is scaled into whatever slot it is given; bars are black."""
    source = SyntheticOptions(width=640, height=360).open()
    image_bgr = np.full((480, 640, 3), 7, np.uint8)
    grabbed = source.grab()
    assert grabbed is not None

    grabbed.copy_into(image_bgr)

    assert image_bgr[:60].max() == 0
    assert image_bgr[420:].max() == 0
    assert read_number(image_bgr[60:420]) == 0


def test_closing_ends_it() -> None:
    """After `close` there are no more frames."""
    source = SyntheticOptions().open()
    source.close()

    assert source.grab() is None
