"""Files by NVENC, with an encoder that acts as if: when it is asked, why it is not taken, how a file goes on."""

from pathlib import Path
from typing import Any

import pytest
from av.error import ExternalError

from pipeline.errors import SinkError
from pipeline.sinks import Sink, file, nvenc
from pipeline.sinks.file import FileOptions
from pipeline.sinks.nvenc import nvenc_options, nvenc_reason, software_path
from tests.pipeline.sinks import feed

STAND_IN = "libvpx-vp9"


class FailingEncoder:
    """Encodes like the stream it stands for; fails at the picture with this number, and at the end."""

    def __init__(self, stream: Any, fails_at: int) -> None:
        self._stream, self._left = stream, fails_at

    def encode(self, picture: Any) -> Any:
        self._left -= 1
        if self._left <= 0:
            raise ExternalError(1, "no encode device")
        return self._stream.encode(picture)


@pytest.fixture
def acting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with NVENC; VP9 takes its part, and looks ahead as little."""
    monkeypatch.setattr(file, "nvenc_reason", lambda *size: None)
    quick = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
    monkeypatch.setattr(file, "nvenc_options", lambda *asked: quick)


def _opened(path: Path, told: list[str], codec: str) -> Sink:
    # Not validated: the stand-in is no choice of a person.
    options = FileOptions(path=str(path)).model_copy(update={"codec": codec})
    return options.open(feed.stream_format(), pacing="lossless", announce=told.append)


def test_without_a_driver_the_file_is_written_by_libx264(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says why; nothing else changes."""
    monkeypatch.setattr(nvenc, "nvidia_reason", lambda: "no NVIDIA driver")
    told: list[str] = []
    sink = _opened(tmp_path / "out.mp4", told, "h264_nvenc")

    for number in range(1, 11):
        sink.accept(feed.shown(number))
    sink.close()

    assert feed.numbers_in(tmp_path / "out.mp4") == list(range(1, 11))
    assert len(told) == 1
    assert "encoded by libx264, h264_nvenc was wanted; no NVIDIA driver; run_stream.py doctor tells more" in told[0]


def test_nothing_is_asked_where_libx264_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking opens an encoder, and some drivers allow three."""

    def asked(*size: int) -> None:
        raise AssertionError("not to be asked")

    monkeypatch.setattr(file, "nvenc_reason", asked)

    _opened(tmp_path / "out.mp4", [], "libx264").close()


def test_a_file_by_the_gpu_is_whole(acting: None, tmp_path: Path) -> None:
    """Frames go to the encoder that was named; nothing is said."""
    told: list[str] = []
    sink = _opened(tmp_path / "out.mp4", told, STAND_IN)

    for number in range(1, 6):
        sink.accept(feed.shown(number))
        sink.update({})
    sink.close()

    assert feed.numbers_in(tmp_path / "out.mp4") == [1, 2, 3, 4, 5]
    assert (told, software_path(tmp_path / "out.mp4").exists()) == ([], False)


def test_an_encoder_that_fails_in_mid_stream_leaves_its_file_and_another_one(acting: None, tmp_path: Path) -> None:
    """The picture at which it failed begins the second file; it is told from render's thread, not from the sink's."""
    path, told = tmp_path / "out.mkv", list[str]()
    sink: Any = _opened(path, told, STAND_IN)
    hardware = sink._sink
    hardware._video = FailingEncoder(hardware._video, fails_at=31)

    for number in range(1, 37):
        sink.accept(feed.shown(number))
    before = list(told)
    sink.update({})
    sink.close()

    assert feed.numbers_in(software_path(path)) == list(range(31, 37))
    first = feed.numbers_in(path)  # without the last ones, which were not yet a whole cluster
    assert first == list(range(1, len(first) + 1))
    assert first
    assert before == []
    assert len(told) == 1
    assert "could not be encoded (no encode device)" in told[0]
    assert told[0].endswith(f"it goes on in {software_path(path)}, by libx264")


def test_an_encoder_that_refuses_the_first_picture_costs_nothing(acting: None, tmp_path: Path) -> None:
    """It opens with the first picture; what it then refuses is written by libx264 from the beginning."""
    path, told = tmp_path / "out.mp4", list[str]()
    sink = _opened(path, told, "mpeg4")  # knows no clock of 1/90000 s

    for number in range(1, 4):
        sink.accept(feed.shown(number))
    sink.update({})
    sink.close()

    assert feed.numbers_in(software_path(path)) == [1, 2, 3]
    assert "could not be encoded (Invalid argument)" in told[0]


def test_a_second_failure_is_the_sinks_own(acting: None, tmp_path: Path) -> None:
    """Behind libx264 there is nothing; the sink fails as every sink does."""
    sink: Any = _opened(tmp_path / "out.mkv", [], STAND_IN)
    sink._sink._video = FailingEncoder(sink._sink._video, fails_at=2)
    for number in (1, 2):
        sink.accept(feed.shown(number))
    sink._sink._video = FailingEncoder(sink._sink._video, fails_at=1)

    with pytest.raises(SinkError, match=r"out\.software\.mkv: could not be encoded"):
        sink.accept(feed.shown(3))


def test_what_ffmpeg_says_of_nvenc_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder that FFmpeg lacks is named; without a driver nothing is asked."""
    monkeypatch.setattr(nvenc, "nvidia_reason", lambda: None)
    unknown = nvenc_reason("h265_nvenc")
    monkeypatch.setattr(nvenc, "nvidia_reason", lambda: "no NVIDIA driver")

    assert unknown == "this FFmpeg has no h265_nvenc"
    assert nvenc_reason() == "no NVIDIA driver"


@pytest.mark.parametrize(("crf", "quality"), [(0, "1"), (20, "20"), (51, "51")])
def test_quality_and_preset_mean_the_same(crf: int, quality: str) -> None:
    """NVENC takes 0 for "as you like", which is the opposite of libx264's."""
    options = nvenc_options(crf, "veryfast")

    assert (options["cq"], options["preset"], options["b"]) == (quality, "p2", "0")
