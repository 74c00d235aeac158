"""The server behind the page, spoken to in plain HTTP: pictures, figures, commands, how it ends."""

import errno
import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import SinkError
from pipeline.sinks import browser, web
from pipeline.sinks.browser import BrowserOptions, BrowserSink
from tests.pipeline.sinks.watched import (
    FORMAT,
    HEIGHT,
    WIDTH,
    asked,
    commanded,
    number_in,
    opened,
    painted,
    running,
    shown,
    until,
)


@pytest.fixture
def sink() -> Iterator[BrowserSink]:
    """Open on a free port, fed by nobody."""
    sink = opened()
    yield sink
    sink.close()


class Visitor:
    """Reads the live picture, part by part."""

    def __init__(self, sink: BrowserSink, receive_bytes: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(10)
        self.socket.connect(("127.0.0.1", sink.port))
        # HTTP/1.0 is answered without chunks.
        self.socket.sendall(f"GET /stream.mjpeg HTTP/1.0\r\nHost: 127.0.0.1:{sink.port}\r\n\r\n".encode())
        self._file = self.socket.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        while self._file.readline() != b"\r\n":
            pass

    def picture(self) -> NDArray[np.uint8] | None:
        """The next picture, None at the end. Needs no byte of the picture after it."""
        line = self._file.readline()
        while line and not line.startswith(b"Content-Length"):
            line = self._file.readline()
        if not line:
            return None
        self._file.readline()
        jpeg = self._file.read(int(line.split()[1]))
        assert self._file.readline() == b"\r\n"
        assert self._file.readline() == b"--picture\r\n", "without the boundary a browser waits for the next picture"
        image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        return np.asarray(image, np.uint8)

    def leave(self) -> None:
        """Hang up."""
        self._file.close()
        self.socket.close()


def _wants_picture(sink: BrowserSink) -> bool:
    return sink._web.wants_picture


# --- the live picture -------------------------------------------------------------------------------------------------


def test_the_first_frame_is_seen_at_once(sink: BrowserSink) -> None:
    """One accepted frame is one whole picture at the visitor, who needs no second frame to see it."""
    visitor = Visitor(sink)
    until(lambda: _wants_picture(sink))

    sink.accept(shown(11))
    image = visitor.picture()

    assert image is not None
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert number_in(image) == 11
    visitor.leave()


def test_pixels_are_lent(sink: BrowserSink) -> None:
    """What happens to the slot after `accept` is not seen by a visitor, nor in a snapshot."""
    visitor = Visitor(sink)
    slot = painted(5)
    with ThreadPoolExecutor() as beside:
        answer = beside.submit(asked, sink, "/snapshot.png")
        until(lambda: _wants_picture(sink) and sink._web.wants_still)

        sink.accept(shown(5, slot))
        slot[:] = painted(9)
    image = visitor.picture()
    still = cv2.imdecode(np.frombuffer(answer.result().body, np.uint8), cv2.IMREAD_COLOR)

    assert image is not None
    assert number_in(image) == 5
    assert number_in(np.asarray(still, np.uint8)) == 5
    visitor.leave()


def test_nothing_is_encoded_when_nobody_watches(sink: BrowserSink) -> None:
    """Frames cost next to nothing before the first visitor and after the last one."""
    for number in range(20):
        sink.accept(shown(number))
    assert sink.state()["encoded"] == 0

    visitor = Visitor(sink)
    until(lambda: _wants_picture(sink))
    sink.accept(shown(20))
    visitor.picture()
    visitor.leave()
    until(lambda: _wants_picture(sink))  # it waits for the next picture, and learns only then that nobody is there
    sink.accept(shown(21))
    until(lambda: not sink._web._pictures)
    before = sink.state()["encoded"]
    for number in range(22, 42):
        sink.accept(shown(number))

    assert sink.state()["encoded"] == before <= 2


def test_visitors_share_one_encoding(sink: BrowserSink) -> None:
    """Three who watch get the same picture, which was encoded once."""
    visitors = [Visitor(sink) for _ in range(3)]
    until(lambda: len(sink._web._pictures) == 3)

    sink.accept(shown(7))
    images = [visitor.picture() for visitor in visitors]

    assert [number_in(image) for image in images if image is not None] == [7, 7, 7]
    assert sink.state()["encoded"] == 1
    for visitor in visitors:
        visitor.leave()


def test_a_slow_visitor_misses_frames_and_delays_nobody(sink: BrowserSink) -> None:
    """Who reads nothing for 400 frames has few of them waiting, in order, and is then given the newest."""
    noise = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)  # about 70 KB as JPEG
    slow = Visitor(sink, receive_bytes=65536)
    numbers = []
    for number in range(400):
        image = painted(number)
        image[: HEIGHT // 3] = noise[: HEIGHT // 3]
        image[-HEIGHT // 3 :] = noise[-HEIGHT // 3 :]
        sink.accept(shown(number, image))
        time.sleep(0.001)
    n_encoded = sink.state()["encoded"]

    while (n_read := len(numbers)) < n_encoded:
        image = slow.picture()
        assert image is not None, f"{n_read} of {n_encoded}"
        numbers.append(number_in(image))
    until(lambda: _wants_picture(sink))
    sink.accept(shown(1000))
    newest = slow.picture()

    assert n_encoded < 60
    assert numbers == sorted(set(numbers))
    assert newest is not None
    assert number_in(newest) == 1000
    slow.leave()


# --- page, figures, snapshot ------------------------------------------------------------------------------------------


def test_the_page_needs_nothing_from_elsewhere(sink: BrowserSink) -> None:
    """The page is one file, and its policy forbids what is not its own."""
    page = asked(sink, "/")

    text = page.body.decode()
    assert page.status == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert not re.findall(r"""(?:src|href)=["'](?!data:)[^"']*//|@import|url\(""", text)


def test_the_state_tells_figures_and_settings(sink: BrowserSink) -> None:
    """/api/state is the last update, what the stream is, and the rate and latency of the moment."""
    before = json.loads(asked(sink, "/api/state").body)
    for number in range(4):
        sink.accept(shown(number))
        time.sleep(0.002)

    state = json.loads(asked(sink, "/api/state").body)

    assert (before["sequence"], before["idle_ms"], before["now"]["latency_ms"]) == (None, None, None)
    assert state["fps"] == 29.71
    assert state["latency_ms"]["p99"] == 44.87
    assert state["frames"]["dropped"]["stale"] == 30
    assert state["stream"]["source"] == "synthetic"
    assert state["sequence"] == 3
    assert state["now"]["fps"] > 0
    assert state["now"]["latency_ms"] >= 20  # the frames say they were captured 20 ms before
    assert state["ended"] is False


def test_a_snapshot_is_the_next_frame_without_loss(sink: BrowserSink) -> None:
    """The PNG holds exactly the pixels of a frame, and is named by its sequence."""
    with running(sink):
        answer = asked(sink, "/snapshot.png")

    image = cv2.imdecode(np.frombuffer(answer.body, np.uint8), cv2.IMREAD_COLOR)
    assert answer.status == 200
    assert image is not None
    number = number_in(np.asarray(image, np.uint8))
    assert np.array_equal(image, painted(number))
    assert answer.headers["Content-Disposition"] == f'attachment; filename="segstream-{number:06d}.png"'


def test_a_snapshot_of_a_stream_that_stands_still_is_refused(
    sink: BrowserSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no frame comes, the answer says so instead of waiting for ever."""
    monkeypatch.setattr(web, "_STILL_S", 0.05)

    answer = asked(sink, "/snapshot.png")

    assert answer.status == 503
    assert "no frame came" in json.loads(answer.body)["why"]


# --- commands ---------------------------------------------------------------------------------------------------------


def test_a_command_reaches_render(sink: BrowserSink) -> None:
    """What the page asked for is there once, in order."""
    for command in ({"set": "mask", "value": False}, {"do": "quit"}):
        assert commanded(sink, command, Origin=f"http://127.0.0.1:{sink.port}").status == 200

    assert sink.commands() == [{"set": "mask", "value": False}, {"do": "quit"}]
    assert sink.commands() == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"\xff", 400),
        (b"[" * 4000, 400),
        (b'{"set": "strength", "value": 9}', 400),
        (b'{"do": "quit", "x": "' + b"x" * 5000 + b'"}', 413),
    ],
)
def test_what_is_no_command_is_refused(sink: BrowserSink, body: bytes, status: int) -> None:
    """A body that is broken, too deep, too large or not ours gets a reason, and nothing is kept."""
    answer = commanded(sink, body)

    assert answer.status == status
    assert len(json.loads(answer.body)["why"]) > 10
    assert sink.commands() == []


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded"])
def test_a_form_is_no_command(sink: BrowserSink, kind: str) -> None:
    """Only JSON is read: what a form can send needs no permission of ours in a browser."""
    answer = commanded(sink, {"do": "quit"}, Content_Type=kind)

    assert answer.status == 415
    assert sink.commands() == []


# --- ports, and the end -----------------------------------------------------------------------------------------------


def test_a_taken_port_is_named_with_a_remedy(sink: BrowserSink) -> None:
    """A port that was asked for and is in use is an error that says what to type instead."""
    with pytest.raises(SinkError, match=rf"port {sink.port} is in use.*--sink browser:{sink.port + 1}"):
        BrowserOptions(port=sink.port).open(FORMAT, pacing="live", announce=print)


def test_without_a_port_the_next_free_one_is_taken(sink: BrowserSink, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs beside each other both get a page, and each says where."""
    monkeypatch.setattr(browser, "FIRST_PORT", sink.port)
    lines: list[str] = []

    second = BrowserOptions().open(FORMAT, pacing="live", announce=lines.append)
    second.close()

    assert sink.port < second.port < sink.port + browser.N_PORTS
    assert lines == [f"browser: http://127.0.0.1:{second.port} ({sink.port} is in use)"]


def test_without_any_free_port_the_remedy_is_told(sink: BrowserSink, monkeypatch: pytest.MonkeyPatch) -> None:
    """When all ports that are tried are taken, the error names them."""
    monkeypatch.setattr(browser, "FIRST_PORT", sink.port)
    monkeypatch.setattr(browser, "N_PORTS", 1)

    with pytest.raises(SinkError, match=f"ports {sink.port} to {sink.port} are all in use"):
        BrowserOptions().open(FORMAT, pacing="live", announce=print)


def test_a_privileged_port_is_named_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system refuses a low port, the error says which ones will do."""

    def refusing(*_: Any, **__: Any) -> socket.socket:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "create_server", refusing)

    with pytest.raises(SinkError, match=r"port 80 .*above 1023"):
        BrowserOptions(port=80).open(FORMAT, pacing="live", announce=print)


def test_closing_ends_every_connection(caplog: pytest.LogCaptureFixture) -> None:
    """Who watches, who does not read, who hears figures, who waits for a snapshot: all go, and nothing is logged."""
    sink = opened()
    watching, stuck = Visitor(sink), Visitor(sink, receive_bytes=4096)
    noise = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    until(lambda: len(sink._web._pictures) == 2)
    for number in range(40):
        sink.accept(shown(number, noise))
        watching.picture()
        until(lambda: _wants_picture(sink))
    hearing, waiting = (socket.create_connection(("127.0.0.1", sink.port), timeout=10) for _ in range(2))
    request = f"HTTP/1.1\r\nHost: 127.0.0.1:{sink.port}\r\n"
    upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    hearing.sendall(f"GET /api/live {request}{upgrade}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
    waiting.sendall(f"GET /snapshot.png {request}\r\n".encode())
    until(lambda: len(sink._web._visits) == 4)

    sink.close()
    sink.close()

    assert watching.picture() is None
    assert b"the stream has ended" in waiting.recv(65536)
    assert b'"ended": true' in b"".join(iter(lambda: hearing.recv(65536), b""))
    assert [record.getMessage() for record in caplog.records] == []
    hearing.close()
    waiting.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", sink.port))
    watching.leave()
    stuck.leave()


def test_closing_before_the_first_visitor_is_fine() -> None:
    """A run that ends at once does not wait for its page."""
    opened().close()


def test_a_server_that_failed_is_told_as_a_sink_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the page's thread dies, the sink says so at the next frame, so that it is closed and named."""

    async def failing(self: Any) -> None:
        raise RuntimeError("no loop today")

    monkeypatch.setattr(web.WebServer, "_serve", failing)
    sink = opened()
    until(lambda: sink._web.failure)

    with pytest.raises(SinkError, match="no loop today"):
        sink.accept(shown(0))
    sink.close()
