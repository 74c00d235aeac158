"""HTTP: a file is read whole and ends, a camera's endless pictures are live, refusals are told apart."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import cv2
import pytest

from pipeline.errors import SourceCause, SourceLost, SourceUnavailable
from pipeline.sources import nvdec
from pipeline.sources.network import NetworkOptions
from tests.pipeline.sources.clips import numbered, numbers, write_clip


class _Handler(BaseHTTPRequestHandler):
    """Serves the files it is given, and `/camera`: numbered JPEGs for ever."""

    files: ClassVar[dict[str, bytes]] = {}
    n_pictures: ClassVar[int] = 1_000_000

    def do_GET(self) -> None:
        if self.path == "/secret":
            self.send_error(401)
        elif self.path == "/forbidden":
            self.send_error(403)
        elif self.path == "/camera":
            self._stream_pictures()
        elif self.path in self.files:
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.files[self.path])))
            self.end_headers()
            self.wfile.write(self.files[self.path])
        else:
            self.send_error(404)

    def _stream_pictures(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for number in range(1, self.n_pictures + 1):
            jpeg = cv2.imencode(".jpg", numbered(number))[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            self.wfile.write(head.encode() + jpeg + b"\r\n")

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is no error."""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """`http://127.0.0.1:PORT` of a running server with one clip."""
    _Handler.files = {
        "/clip.mp4": write_clip(tmp_path / "a.mp4", 12).read_bytes(),
        "/notes.txt": b"no pictures here\n" * 100,
    }
    _Handler.n_pictures = 1_000_000
    with _Server(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def _options(uri: str, **more: Any) -> NetworkOptions:
    return NetworkOptions.model_validate({"uri": uri, **more})


def test_a_file_over_http_is_read_whole(address: str) -> None:
    """A clip is not live: every frame comes, however slowly it is read, and then a regular end."""
    source = _options(f"{address}/clip.mp4").open()

    assert not source.format.is_live
    assert source.format.n_frames == 12
    assert numbers(source) == list(range(1, 13))
    assert source.grab() is None
    source.close()


def test_a_stream_that_no_gpu_decodes_says_why(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is known before anybody listens, and told with the first frame; the frames are the processor's."""
    monkeypatch.setattr(nvdec, "nvidia_reason", lambda: "no NVIDIA driver")
    told: list[str] = []
    source = _options(f"{address}/clip.mp4", hwaccel="cuda").open()
    source.on_event = lambda what, why: told.append(f"{what}: {why}")

    assert numbers(source) == list(range(1, 13))
    assert len(told) == 1
    assert told[0].startswith("decoded by the processor: ")
    assert "hwaccel cuda was wanted; no NVIDIA driver" in told[0]
    source.close()


def test_a_camera_of_jpegs_is_live(address: str) -> None:
    """Motion JPEG over HTTP, as cheap cameras send it."""
    source = _options(f"{address}/camera").open()

    assert source.format.is_live
    assert (source.format.width, source.format.height) == (320, 240)
    assert source.grab() is not None
    source.close()


def test_a_camera_that_ends_is_lost(address: str) -> None:
    """The end of an endless stream is a loss."""
    _Handler.n_pictures = 40
    source = _options(f"{address}/camera", reconnect_for_s=0).open()

    with pytest.raises(SourceLost):
        numbers(source)
    source.close()


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        ("/secret", SourceCause.AUTH),
        ("/forbidden", SourceCause.AUTH),
        ("/nothing.mp4", SourceCause.NOT_FOUND),
        ("/notes.txt", SourceCause.CODEC),
    ],
)
def test_refusals_are_told_apart(address: str, path: str, cause: SourceCause) -> None:
    """401, 403, 404, and something that is no video: each has its cause and one line."""
    with pytest.raises(SourceUnavailable) as refused:
        _options(f"{address}{path}").open()

    assert refused.value.cause is cause
    assert "\n" not in str(refused.value)
