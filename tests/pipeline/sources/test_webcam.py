"""Webcams without a camera: a fake capture for what is granted, the real system for what is refused."""

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.errors import SourceCause, SourceLost, SourceUnavailable
from pipeline.sources import webcam
from pipeline.sources.webcam import WebcamOptions, cameras
from tests.pipeline.sources.clips import images


class _FakeCapture:
    """Grants 640x480 at 15 a second, whatever is asked, and gives so many frames."""

    def __init__(self, n_frames: int = 1_000_000, is_open: bool = True, is_grey: bool = False) -> None:
        self.asked: list[tuple[int, float]] = []
        self.n_released = 0
        self._left = n_frames
        self._is_open = is_open
        self._channels = 1 if is_grey else 3

    def isOpened(self) -> bool:
        return self._is_open

    def set(self, key: int, value: float) -> bool:
        self.asked.append((key, value))
        return True

    def get(self, key: int) -> float:
        return {cv2.CAP_PROP_FPS: 15.0, cv2.CAP_PROP_FOURCC: float(cv2.VideoWriter.fourcc(*"MJPG"))}.get(key, 0.0)

    def read(self) -> tuple[bool, Any]:
        if self._left == 0:
            return False, None
        self._left -= 1
        return True, np.full((480, 640, self._channels), 77, np.uint8)

    def release(self) -> None:
        self.n_released += 1


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[_FakeCapture]:
    """A device node that exists; the captures in the list are what OpenCV finds behind it."""
    node = tmp_path / "video0"
    node.touch()
    left: list[_FakeCapture] = []
    monkeypatch.setattr(WebcamOptions, "path", property(lambda self: str(node)))
    monkeypatch.setattr(cv2, "VideoCapture", lambda path, api: left.pop(0))
    return left


def test_what_was_granted_is_reported(plugged: list[_FakeCapture]) -> None:
    """The format is what the camera gives, and `granted` names both sides."""
    capture = _FakeCapture()
    plugged.append(capture)

    source = WebcamOptions(width=1920, height=1080, rate_hz=60).open()

    assert (source.format.width, source.format.height, source.format.rate_hz) == (640, 480, 15)
    assert source.format.is_live
    assert source.format.granted == "MJPG 640x480@15, asked MJPG 1920x1080@60"
    source.close()
    assert capture.n_released == 1


def test_mjpg_is_asked_for_before_the_size(plugged: list[_FakeCapture]) -> None:
    """Drivers offer sizes by pixel format, so the format comes first."""
    capture = _FakeCapture()
    plugged.append(capture)

    WebcamOptions(width=800, height=600).open().close()

    keys = [key for key, _ in capture.asked]
    assert keys.index(cv2.CAP_PROP_FOURCC) < keys.index(cv2.CAP_PROP_FRAME_WIDTH)
    assert (cv2.CAP_PROP_FRAME_WIDTH, 800) in capture.asked


def test_frames_have_rising_times(plugged: list[_FakeCapture]) -> None:
    """Time is when the read returned, from 0 on, never twice the same."""
    plugged.append(_FakeCapture())
    source = WebcamOptions().open()

    pts_ns = [frame.pts_ns for _ in range(5) if (frame := source.grab()) is not None]

    assert pts_ns[0] == 0
    assert pts_ns == sorted(set(pts_ns))


def test_a_frame_goes_into_the_slot(plugged: list[_FakeCapture]) -> None:
    """The camera's pixels arrive; a grey (infrared) camera's too."""
    plugged.append(_FakeCapture(is_grey=True))
    grabbed = WebcamOptions().open().grab()
    image_bgr = np.zeros((480, 640, 3), np.uint8)
    assert grabbed is not None

    grabbed.copy_into(image_bgr)

    assert (image_bgr == 77).all()


def test_an_unplugged_camera_is_lost(plugged: list[_FakeCapture]) -> None:
    """Reads that fail in a row are a loss."""
    plugged.append(_FakeCapture(n_frames=3))
    source = WebcamOptions(reconnect_for_s=0).open()

    with pytest.raises(SourceLost, match="plugged in"):
        images(source)


def test_a_camera_that_is_plugged_in_again_goes_on(plugged: list[_FakeCapture]) -> None:
    """The loss is followed by a new opening; the first frame after it says so."""
    plugged += [_FakeCapture(n_frames=2), _FakeCapture()]
    source = WebcamOptions().open()

    gaps = [frame.after_gap for _ in range(3) if (frame := source.grab()) is not None]

    assert gaps == [False, True, False]


def test_a_node_that_gives_no_frame_is_refused(plugged: list[_FakeCapture]) -> None:
    """Opened but silent: refused, released, and another size is proposed."""
    capture = _FakeCapture(n_frames=0)
    plugged.append(capture)

    with pytest.raises(SourceUnavailable, match="--size") as refused:
        WebcamOptions().open()

    assert refused.value.cause is SourceCause.TIMED_OUT
    assert capture.n_released == 1


def test_a_busy_camera_names_who_holds_it(plugged: list[_FakeCapture], monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV only says that it could not open; the system knows who has it."""
    plugged.append(_FakeCapture(is_open=False))
    monkeypatch.setattr(webcam, "_holders", lambda path: ["cheese (4242)"])

    with pytest.raises(SourceUnavailable, match=r"cheese \(4242\)") as refused:
        WebcamOptions().open()

    assert refused.value.cause is SourceCause.BUSY


def test_something_else_than_a_camera_is_refused(plugged: list[_FakeCapture]) -> None:
    """A node that exists, is not held by anybody and cannot be opened is no camera."""
    plugged.append(_FakeCapture(is_open=False))

    with pytest.raises(SourceUnavailable) as refused:
        WebcamOptions().open()

    assert refused.value.cause is SourceCause.CODEC


def test_a_camera_that_is_not_there_lists_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/video99 does not exist; the message names the cameras that do."""
    monkeypatch.setattr(webcam, "cameras", lambda: [webcam.Camera("/dev/video7", "Desk")])

    with pytest.raises(SourceUnavailable, match=r"/dev/video7 \(Desk\)") as refused:
        WebcamOptions(device="99").open()

    assert refused.value.cause is SourceCause.NOT_FOUND


@pytest.mark.parametrize(("error", "cause"), [(13, SourceCause.PERMISSION), (16, SourceCause.BUSY)])
def test_the_systems_refusal_is_told_apart(
    error: int, cause: SourceCause, plugged: list[_FakeCapture], monkeypatch: pytest.MonkeyPatch
) -> None:
    """EACCES and EBUSY have different remedies."""

    def refuse(path: str, flags: int) -> int:
        raise OSError(error, os.strerror(error), path)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(SourceUnavailable) as refused:
        WebcamOptions().open()

    assert refused.value.cause is cause
    assert ("usermod" in str(refused.value)) is (cause is SourceCause.PERMISSION)


def test_who_holds_a_file_is_found(tmp_path: Path) -> None:
    """Another process's open descriptor is found by the link that the system keeps of it."""
    folder = tmp_path / "4242" / "fd"
    folder.mkdir(parents=True)
    (folder / "3").symlink_to("/dev/video0")
    (tmp_path / "4242" / "comm").write_text("cheese\n")

    assert webcam._holders("/dev/video0", tmp_path) == ["cheese (4242)"]
    assert webcam._holders("/dev/video1", tmp_path) == []


def test_cameras_are_listed_without_their_metadata_nodes(tmp_path: Path) -> None:
    """A camera has several nodes; only the one with pictures is a camera, in the order of numbers."""
    for node, index, name in (("video10", 0, "Second"), ("video2", 0, "First"), ("video3", 1, "First")):
        (tmp_path / node).mkdir()
        (tmp_path / node / "index").write_text(f"{index}\n")
        (tmp_path / node / "name").write_text(f"{name}\n")

    assert [(camera.path, camera.name) for camera in cameras(tmp_path)] == [
        ("/dev/video2", "First"),
        ("/dev/video10", "Second"),
    ]
