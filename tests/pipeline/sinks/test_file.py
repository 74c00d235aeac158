"""Video files: every frame at its time and in its colour, sizes, names, and what cannot be written."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from configs import ConfigError
from pipeline.errors import SinkError
from pipeline.frame import StreamFormat
from pipeline.sinks import Sink, sink_from_text
from pipeline.sinks.file import FileOptions
from tests.pipeline.sinks import feed

SUFFIXES = (".mp4", ".mov", ".mkv")


def _opened(path: Path, format: StreamFormat | None = None, announce: feed.Announce = feed.ignore) -> Sink:
    return sink_from_text(f"file:{path}").open(format or feed.stream_format(), pacing="lossless", announce=announce)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_frame_is_there_in_order(tmp_path: Path, suffix: str) -> None:
    """PyAV and OpenCV both read back every number that was painted."""
    path = tmp_path / f"out{suffix}"
    sink = _opened(path)

    for number in range(1, 61):
        sink.accept(feed.shown(number))
    sink.close()

    assert feed.numbers_in(path) == list(range(1, 61))
    capture = cv2.VideoCapture(str(path))
    assert sum(1 for _ in iter(lambda: capture.read()[0], False)) == 60


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_frames_keep_the_time_they_had(tmp_path: Path, suffix: str) -> None:
    """A stream of changing rate is a file of changing rate, counted from its first frame."""
    path = tmp_path / f"out{suffix}"
    times_ms = [1000, 1033, 1040, 1500, 1517, 2517]
    sink = _opened(path)

    for number, at_ms in enumerate(times_ms, start=1):
        sink.accept(feed.shown(number, pts_ns=at_ms * 1_000_000))
    sink.close()

    # Matroska counts in milliseconds; the others in 1/90000 s.
    assert feed.times_in(path) == pytest.approx([(at_ms - 1000) / 1000 for at_ms in times_ms], abs=0.0006)


def test_times_that_stand_still_or_go_back_do_not_end_the_file(tmp_path: Path) -> None:
    """A source that reconnects may repeat a time; codecs want each later than the one before."""
    path = tmp_path / "out.mp4"
    sink = _opened(path)

    for number, at_ms in enumerate([0, 40, 40, 20, 80], start=1):
        sink.accept(feed.shown(number, pts_ns=at_ms * 1_000_000))
    sink.close()

    times = feed.times_in(path)
    assert feed.numbers_in(path) == [1, 2, 3, 4, 5]
    assert times == sorted(set(times))


@pytest.mark.parametrize(("width", "height", "matrix"), [(640, 480, 6), (1280, 720, 1)])
def test_colours_are_converted_with_the_matrix_they_are_tagged_with(
    tmp_path: Path, width: int, height: int, matrix: int
) -> None:
    """Six colours: 720 lines and more by BT.709, fewer by BT.601, limited range, and the tags say so."""
    path = tmp_path / "out.mp4"
    patches = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (20, 20, 20), (235, 235, 235), (40, 180, 220)]
    sink = FileOptions(path=str(path), crf=4).open(
        feed.stream_format(width, height), pacing="lossless", announce=feed.ignore
    )
    image_bgr = np.zeros((height, width, 3), np.uint8)
    for index, bgr in enumerate(patches):
        image_bgr[:, index * width // 6 : (index + 1) * width // 6] = bgr

    shown = feed.shown(1)
    shown.composite_bgr = image_bgr
    sink.accept(shown)
    sink.close()

    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        tags = (context.colorspace, context.color_primaries, context.color_trc, context.color_range)
        frame = next(container.decode(video=0))
    assert tags == (matrix, matrix, matrix, 1)
    y, u, v = (
        np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width].astype(float)
        for plane in frame.planes
    )
    # The exact formulas (ITU-R BT.601 and BT.709); swscale and the codec are each off by less than one level.
    kr, kb = (0.299, 0.114) if matrix == 6 else (0.2126, 0.0722)
    for index, (blue, green, red) in enumerate(patches):
        x = (2 * index + 1) * width // 12
        luma = kr * red + (1 - kr - kb) * green + kb * blue
        assert y[height // 2, x] == pytest.approx(16 + luma * 219 / 255, abs=2)
        assert u[height // 4, x // 2] == pytest.approx(128 + (blue - luma) / (2 * (1 - kb)) * 224 / 255, abs=2)
        assert v[height // 4, x // 2] == pytest.approx(128 + (red - luma) / (2 * (1 - kr)) * 224 / 255, abs=2)


def test_odd_sides_are_padded_and_announced(tmp_path: Path) -> None:
    """yuv420p has even sides: the last row and column are repeated, and the person is told."""
    path = tmp_path / "out.mp4"
    lines: list[str] = []
    sink = _opened(path, feed.stream_format(321, 241), lines.append)

    sink.accept(feed.shown(1, 321, 241))
    sink.close()

    image_bgr = next(feed.decoded(path)).to_ndarray(format="bgr24").astype(int)
    assert image_bgr.shape == (242, 322, 3)
    # The picture is noise of 30 levels; the repeated column follows it.
    assert np.abs(image_bgr[:, 321] - image_bgr[:, 320]).mean() < 3
    assert lines == [
        f"{path}: 321x241 has an odd side, which yuv420p cannot have; written as 322x242, the edge repeated"
    ]


def test_a_slot_of_another_stride_is_read_rightly(tmp_path: Path) -> None:
    """A composite that is a view into something larger, and read only, as slots may be."""
    path = tmp_path / "out.mkv"
    sink = _opened(path)
    wide_bgr = np.zeros((240, 400, 3), np.uint8)
    wide_bgr[:, :320] = feed.picture(7)
    wide_bgr.flags.writeable = False

    shown = feed.shown(7)
    shown.composite_bgr = wide_bgr[:, :320]
    sink.accept(shown)
    sink.close()

    assert feed.numbers_in(path) == [7]


def test_a_restarted_worker_writes_a_part_of_its_own(tmp_path: Path) -> None:
    """What the killed worker wrote stays; the second part begins at 0 with its own first frame."""
    path = tmp_path / "out.mp4"
    for part, number in ((0, 1), (1, 30)):
        sink = FileOptions(path=str(path), part=part).open(
            feed.stream_format(), pacing="lossless", announce=feed.ignore
        )
        sink.accept(feed.shown(number))
        sink.close()

    assert feed.numbers_in(path) == [1]
    assert feed.numbers_in(tmp_path / "out.part2.mp4") == [30]
    assert feed.times_in(tmp_path / "out.part2.mp4") == [0]


def test_a_run_without_frames_leaves_no_file_and_harms_none(tmp_path: Path) -> None:
    """An empty video is no video; what was there before is replaced only by a frame."""
    (tmp_path / "before.mp4").write_bytes(b"precious")

    _opened(tmp_path / "new.mp4").close()
    _opened(tmp_path / "before.mp4").close()

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"before.mp4": b"precious"}


def test_a_shorter_run_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    """The file is replaced as a whole."""
    path = tmp_path / "out.mp4"
    for n_frames in (80, 3):
        sink = _opened(path)
        for number in range(1, n_frames + 1):
            sink.accept(feed.shown(number))
        sink.close()

    assert feed.numbers_in(path) == [1, 2, 3]
    assert path.stat().st_size < 80_000


def test_closing_twice_is_fine(tmp_path: Path) -> None:
    """The second time there is nothing left to do."""
    sink = _opened(tmp_path / "out.mp4")
    sink.accept(feed.shown(1))

    sink.close()
    sink.close()

    assert feed.numbers_in(tmp_path / "out.mp4") == [1]


def test_an_unknown_preset_is_wrong_use() -> None:
    """The answer lists the presets."""
    with pytest.raises(ValueError, match="known: ultrafast"):
        FileOptions(path="out.mp4", preset="quick")
    with pytest.raises(ConfigError, match=r"ends in '\.avi'"):
        sink_from_text("file:out.avi")


def test_places_that_cannot_be_written_are_refused_with_a_remedy(tmp_path: Path) -> None:
    """A folder, a missing folder, a file in the place of a folder, no plain file: each with what to do."""
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe.mp4")

    for name, told in {
        "folder.mp4": "is a folder; name a file in it",
        "none/out.mp4": f"there is no folder {tmp_path / 'none'}; make it: mkdir -p",
        "file/out.mp4": "is not a folder",
        "pipe.mp4": "is no plain file",
    }.items():
        with pytest.raises(SinkError, match=name) as caught:
            _opened(tmp_path / name)
        assert told in str(caught.value)


def test_a_folder_without_permission_is_refused_with_a_remedy(tmp_path: Path) -> None:
    """It names what to look at."""
    tmp_path.chmod(0o500)

    with _nobody(), pytest.raises(SinkError, match="may not be written by this user; check: ls -ld"):
        _opened(tmp_path / "out.mp4")


@contextmanager
def _nobody() -> Iterator[None]:
    """Within, not even root may write everywhere."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_the_source_itself_is_not_overwritten(tmp_path: Path) -> None:
    """`run in.mp4 --sink file:in.mp4` would destroy what it reads; also by way of a link."""
    source = tmp_path / "in.mp4"
    sink = _opened(source)
    sink.accept(feed.shown(1))
    sink.close()
    (tmp_path / "link.mp4").symlink_to(source)

    for path in (source, tmp_path / "link.mp4"):
        with pytest.raises(SinkError, match="is the source itself"):
            _opened(path, feed.stream_format(source=str(source)))
    assert feed.numbers_in(source) == [1]


def test_two_sinks_cannot_write_one_file(tmp_path: Path) -> None:
    """Two streams into one file would leave neither; the second is refused, with how to name both."""
    first = _opened(tmp_path / "out.mp4")
    first.accept(feed.shown(1))

    with pytest.raises(SinkError, match=r"is being written by another .* put \{stream\}"):
        _opened(tmp_path / "out.mp4")
    first.close()

    assert feed.numbers_in(tmp_path / "out.mp4") == [1]


def test_a_source_that_does_not_know_its_rate_is_written(tmp_path: Path) -> None:
    """The nominal rate guides the encoder; the times are the frames' own."""
    path = tmp_path / "out.mp4"
    sink = _opened(path, feed.stream_format(rate_hz=Fraction(0)))

    for number in range(1, 4):
        sink.accept(feed.shown(number))
    sink.close()

    assert feed.times_in(path) == pytest.approx([0, 0.04, 0.08])
