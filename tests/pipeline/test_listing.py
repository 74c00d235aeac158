"""What `list` shows: the tables of the house, and what was found on this machine."""

import fcntl
import struct
from pathlib import Path
from typing import Any

import pytest

from engines.runtime import BACKENDS
from pipeline import listing
from pipeline.listing import Camera, cameras_found, list_all, summary_of
from tests.engines.runtime.graphs import write_engine

CAPTURE = 0x1
METADATA = 0x00800000
HAS_DEVICE_CAPS = 0x80000000


def _answer(card: str, capabilities: int, of_this_device: int) -> bytes:
    return struct.pack("<16s32s32sIII12x", b"uvc", card.encode(), b"usb", 6, capabilities, of_this_device)


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Device files in a folder; the answers they give to the driver's question are filled in by the test."""
    answers: dict[str, bytes] = {}

    def ioctl(descriptor: int, request: int, answer: bytearray) -> int:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        if name not in answers:
            raise OSError(25, "Inappropriate ioctl for device")
        answer[:] = answers[name]
        return 0

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    return answers


def test_cameras_are_found_in_the_order_of_their_numbers(tmp_path: Path, devices: dict[str, bytes]) -> None:
    """Metadata nodes and files that are no video device are left out."""
    for name in ("video10", "video2", "video3", "video4", "videocodec"):
        (tmp_path / name).touch()
    devices["video2"] = _answer("Front", CAPTURE | METADATA | HAS_DEVICE_CAPS, CAPTURE)
    devices["video3"] = _answer("Front", CAPTURE | METADATA | HAS_DEVICE_CAPS, METADATA)
    devices["video10"] = _answer("Old", CAPTURE, 0)

    found = cameras_found(tmp_path)

    assert found == [Camera(tmp_path / "video2", "Front"), Camera(tmp_path / "video10", "Old")]


def test_a_camera_that_refuses_is_listed_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there; what keeps us from it is told in the system's words."""
    (tmp_path / "video0").touch()

    def denied(path: Any, flags: int) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(listing.os, "open", denied)

    assert cameras_found(tmp_path) == [Camera(tmp_path / "video0", "", "permission denied")]


def test_every_table_is_listed() -> None:
    """Each source, effect, sink and backend stands there with the first line of its docstring."""
    from pipeline.effects import EFFECTS
    from pipeline.sinks import SINKS
    from pipeline.sources import SOURCES

    text = list_all()

    for table in (SOURCES, EFFECTS, SINKS, BACKENDS):
        for name, kind in table.items():
            assert summary_of(kind)
            assert any(line.split()[:1] == [name] for line in text.splitlines()), name


def test_a_backend_that_cannot_work_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason and its remedy stand where its description would."""
    reason = "openvino cannot be imported; pip install openvino"
    monkeypatch.setattr(listing, "backend_reason", lambda name: reason if name == "openvino" else None)

    lines = list_all().splitlines()

    assert next(line for line in lines if line.split()[:1] == ["openvino"]).endswith(reason)


def test_engines_are_listed_with_sizes_places_and_problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that another one hides is shown as hidden, a broken one with its fault."""
    near, far = tmp_path / "near", tmp_path / "far"
    write_engine(near / "tiny")
    write_engine(far / "tiny", sizes=((64, 32), (32, 32)))
    write_engine(far / "torn").with_name("torn.json").write_text("{")
    monkeypatch.setenv("SEGSTREAM_ENGINES", f"{near}:{far}")

    lines = list_all().splitlines()

    shown = [line.strip() for line in lines if line.split()[:1] in (["tiny"], ["torn"])]
    assert len(shown) == 3
    assert "64x32 fp32" in shown[0]
    assert str(near) in shown[0]
    assert "64x32 fp32, 32x32 fp32" in shown[1]
    assert f"hidden by {near}" in shown[1]
    assert "not valid JSON" in shown[2]


def test_an_empty_section_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """No camera is an answer, not a blank."""
    monkeypatch.setattr(listing, "cameras_found", list)

    assert "Cameras\n  none found" in list_all()


def test_a_lazy_line_is_followed_to_its_class() -> None:
    """`module:Class` in a table is described like the class itself."""
    assert summary_of("engines.runtime.fake_engine:FakeEngine").startswith("No network: finds the shape")
