"""The window: what it shows, what its keys ask for, and what happens without a display."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import SinkError
from pipeline.sinks import sink_from_text
from pipeline.sinks.window import WindowSink, display_problem
from tests.conftest import ROOT
from tests.pipeline.sinks import feed
from tests.pipeline.sinks.screen import PretendedScreen, XServer, x_server

NUMBERS = {
    "fps": 29.97,
    "latency_ms": {"p50": 11.0, "p99": 21.0},
    "effect": "blur:20",
    "effects": ["blur", "cutout", "none"],
    "engine": "person 512x288 fp32",
    "engines": ["person 512x288 fp32", "person 256x256 fp32"],
    "strength": 1.0,
    "mask": True,
}

IN_A_THREAD = """
import json, sys, threading, time
from pipeline.sinks import sink_from_text
from tests.pipeline.sinks import feed

sink = sink_from_text("window").open(feed.stream_format(source="x test"), pacing="live", announce=lambda line: None)
sink.update({"effect": "none", "effects": ["none", "blur"], "mask": True, "strength": 1.0})
is_done = threading.Event()

def show():
    number = 1
    while not is_done.is_set():
        sink.accept(feed.shown(number))
        number += 1
        time.sleep(0.01)
    sink.close()

thread = threading.Thread(target=show)
thread.start()
while not is_done.is_set():
    for command in sink.commands():
        print(json.dumps(command), flush=True)
        if command == {"do": "quit"}:
            is_done.set()
    time.sleep(0.01)
thread.join()
print(json.dumps("ended"), flush=True)
"""
"""As in render: one thread shows, another asks for commands."""


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> PretendedScreen:
    """No display is needed with this one."""
    return PretendedScreen(monkeypatch)


@pytest.fixture
def sink(screen: PretendedScreen) -> Iterator[WindowSink]:
    """An open window on the pretended screen."""
    sink = WindowSink(feed.stream_format())
    sink.update(NUMBERS)
    yield sink
    sink.close()


@pytest.mark.parametrize(
    ("keys", "commands"),
    [
        ("e", [{"set": "effect", "value": "cutout"}]),
        ("eee", [{"set": "effect", "value": name} for name in ("cutout", "none", "blur")]),
        ("E", [{"set": "effect", "value": "cutout"}]),
        ("nn", [{"set": "engine", "value": name} for name in reversed(NUMBERS["engines"])]),  # type: ignore[call-overload]
        ("++-", [{"set": "strength", "value": value} for value in (1.1, 1.2, 1.1)]),
        ("mm", [{"set": "mask", "value": value} for value in (False, True)]),
        ("s", [{"do": "snapshot"}]),
        ("q", [{"do": "quit"}]),
        ("\x1b", [{"do": "quit"}]),
        ("xyz7", []),
    ],
)
def test_keys_ask_for_what_they_say(
    sink: WindowSink, screen: PretendedScreen, keys: str, commands: list[dict[str, Any]]
) -> None:
    """Pressed twice, a key goes two steps, though the figures have not come back yet."""
    screen.keys = list(keys)

    for number in range(1, len(keys) + 1):
        sink.accept(feed.shown(number))

    assert sink.commands() == commands
    assert sink.commands() == []


def test_strength_stays_between_its_ends(sink: WindowSink, screen: PretendedScreen) -> None:
    """Not below 0, not above 2."""
    screen.keys = ["-"] * 15 + ["+"] * 30

    for number in range(1, 46):
        sink.accept(feed.shown(number))

    values = [command["value"] for command in sink.commands()]
    assert (values[14], values[-1], min(values), max(values)) == (0.0, 2.0, 0.0, 2.0)


def test_figures_are_written_beside_the_picture_not_into_it(sink: WindowSink, screen: PretendedScreen) -> None:
    """The composite is a slot that other sinks read: the window writes on a copy."""
    shown = feed.shown(1)

    sink.accept(shown)

    changed = np.any(screen.pictures[0] != feed.picture(1), axis=2)
    assert changed.any()
    assert not changed[120:].any()
    assert np.array_equal(shown.composite_bgr, feed.picture(1))


def test_a_snapshot_is_the_composite_without_the_figures(
    sink: WindowSink, screen: PretendedScreen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A PNG in the current folder, of the next frame."""
    monkeypatch.chdir(tmp_path)
    sink.accept(feed.shown(1))

    sink.snapshot()
    sink.accept(feed.shown(2))
    sink.accept(feed.shown(3))

    (path,) = tmp_path.iterdir()
    assert path.suffix == ".png"
    assert np.array_equal(cv2.imread(str(path)), feed.picture(2))


def test_closing_the_window_quits_and_does_not_open_it_again(sink: WindowSink, screen: PretendedScreen) -> None:
    """Frames that come until the run has ended are not shown: OpenCV would make a new window."""
    sink.accept(feed.shown(1))
    screen.is_closed_by_person = True

    sink.accept(feed.shown(2))
    sink.accept(feed.shown(3))

    assert sink.commands() == [{"do": "quit"}]
    assert len(screen.pictures) == 2


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, r"no display \(DISPLAY is not set\); watch it in a browser instead: --sink browser"),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "draws through X11"),
        ({"DISPLAY": ":4711"}, "the display :4711 does not answer"),
        ({"DISPLAY": "nonsense"}, "the display nonsense does not answer"),
    ],
)
def test_without_a_display_the_error_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], told: str
) -> None:
    """Asked before OpenCV is: Qt would end the whole process."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SinkError, match=told):
        sink_from_text("window").open(feed.stream_format(), pacing="live", announce=feed.ignore)


def test_a_real_window_in_a_thread_shows_and_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a real X server: the picture moves, keys become commands, and q ends it."""
    with x_server(tmp_path) as server, _child(server) as child:
        monkeypatch.setenv("DISPLAY", server.display)
        assert display_problem() == ""
        window = _soon(lambda: server.window("x test"))
        _soon(lambda: _is_shown(server))
        before = _patch_on(server)
        _soon(lambda: _is_shown(server) and not np.array_equal(_patch_on(server), before))

        for key, command in (("e", {"set": "effect", "value": "blur"}), ("plus", {"set": "strength", "value": 1.1})):
            server.press(window, key)
            assert _line(child) == command
        server.press(window, "q")
        assert _line(child) == {"do": "quit"}
        assert _line(child) == "ended"
        assert child.wait(10) == 0


def test_closing_a_real_window_quits(tmp_path: Path) -> None:
    """Qt ends with its last window, and OpenCV then raises; to us it is a person who wants to quit."""
    with x_server(tmp_path) as server, _child(server) as child:
        window = _soon(lambda: server.window("x test"))
        _soon(lambda: _is_shown(server))

        server.click_close(window)

        assert _line(child) == {"do": "quit"}
        assert _line(child) == "ended"
        assert child.wait(10) == 0


@contextmanager
def _child(server: XServer) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", IN_A_THREAD]
    with subprocess.Popen(command, cwd=ROOT, env=server.environment, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def _line(child: "subprocess.Popen[str]") -> Any:
    assert child.stdout is not None
    return json.loads(child.stdout.readline())


def _patch_on(server: XServer) -> NDArray[np.uint8]:
    # Without a window manager the window is at the top left corner; below its figures there is the picture's noise,
    # another in each frame, and its red corner.
    return server.picture()[160:240, :320]


def _is_shown(server: XServer) -> bool:
    return bool(np.array_equal(_patch_on(server)[40, 300], (30, 60, 200)))


def _soon(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < deadline, "did not happen within 30 s"
        time.sleep(0.02)
    return found
