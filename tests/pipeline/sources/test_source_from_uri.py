"""One text names a source: which kind it is, with which options, and what is wrong with it."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from configs import ConfigError
from pipeline.sources import SOURCES, Wanted, source_from_uri
from pipeline.sources.demo import DemoOptions
from pipeline.sources.file import FileOptions
from pipeline.sources.network import NetworkOptions
from pipeline.sources.source import nominal_rate
from pipeline.sources.synthetic import SyntheticOptions
from pipeline.sources.webcam import WebcamOptions


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("0", WebcamOptions(device="0")),
        ("/dev/video3", WebcamOptions(device="/dev/video3")),
        ("rtsp://cam/live", NetworkOptions(uri="rtsp://cam/live")),  # type: ignore[arg-type]
        ("HTTPS://cam/live", NetworkOptions(uri="HTTPS://cam/live")),  # type: ignore[arg-type]
        ("clip.mp4", FileOptions(path="clip.mp4")),
        ("folder/clip", FileOptions(path="folder/clip")),
        ("file:///tmp/clip.mp4", FileOptions(path="/tmp/clip.mp4")),
        ("synthetic", SyntheticOptions()),
        ("synthetic:640x360@25", SyntheticOptions(width=640, height=360, rate_hz=25)),
        ("synthetic?speed=2000&frames=1000", SyntheticOptions(speed_px_s=2000, frames=1000)),
        ("demo", DemoOptions()),
        ("demo:640x360?seconds=10&noise=3", DemoOptions(width=640, height=360, seconds=10, noise=3)),
        ("demo:@60", DemoOptions(rate_hz=60)),
    ],
)
def test_the_form_decides_the_kind(text: str, options: BaseModel) -> None:
    """Each form of the grammar leads to its kind, with its options."""
    assert source_from_uri(text) == options


def test_the_size_asked_for_reaches_every_kind() -> None:
    """`--size` goes to camera and painter with its rate, to files as a scale; a size in the URI wins."""
    wanted = Wanted.from_text("640x480@15")

    assert source_from_uri("0", wanted=wanted) == WebcamOptions(device="0", width=640, height=480, rate_hz=15)
    assert source_from_uri("a.mp4", wanted=wanted) == FileOptions(path="a.mp4", width=640, height=480)
    assert source_from_uri("demo", wanted=wanted) == DemoOptions(width=640, height=480, rate_hz=15)
    assert source_from_uri("demo:320x240", wanted=wanted) == DemoOptions(width=320, height=240, rate_hz=15)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("sinthetic", "did you mean 'synthetic'?"),
        ("dmo", "did you mean 'demo'?"),
        ("rstp://cam/live", "did you mean 'rtsp'"),
        ("synthetic?sped=3", "did you mean 'speed'"),
        ("synthetic?speed=fast", "speed_px_s"),
        ("demo:0x0", "above 0"),
        ("demo:large", "expected WxH"),
        ("demo?seconds=-1", "seconds"),
        ("rtsp://", "host"),
    ],
)
def test_nonsense_is_answered_with_what_was_meant(text: str, told: str) -> None:
    """Wrong use is a ConfigError in one line, with the near match where there is one."""
    with pytest.raises(ConfigError) as refused:
        source_from_uri(text)

    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_without_suffix_is_a_file_when_it_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare word is taken for a file only if there is one of that name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recording").touch()

    assert source_from_uri("recording") == FileOptions(path="recording")


@pytest.mark.parametrize("text", ["1280", "x720", "1280x", "1280x720@", "-1x5", "1280x720@0", "axb", "", "@"])
def test_sizes_that_make_no_sense_are_refused(text: str) -> None:
    """Half a size is no size."""
    with pytest.raises(ConfigError):
        Wanted.from_text(text)


def test_rates_of_television_are_exact() -> None:
    """29.97 is 30000/1001, and whole rates stay whole."""
    assert str(nominal_rate(29.97)) == "30000/1001"
    assert str(nominal_rate(25.0)) == "25"
    assert str(nominal_rate(12.5)) == "25/2"


def test_every_kind_can_be_opened() -> None:
    """Each line of the table has an `open` of its own."""
    assert all("open" in vars(kind) for kind in SOURCES.values())
