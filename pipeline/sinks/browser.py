"""A page in the browser: the live picture, its figures, and controls.

The sink hands pictures to the web server's thread (`pipeline.sinks.web`) and collects what the page asked for.
The trap: encoding is the cost, so `accept` encodes only when a visitor waits for a picture, and only the one
that is newest then. A visitor who is slow waits seldom; nobody else notices.
"""

import errno
import socket
import threading
import time
from collections import deque
from statistics import median
from typing import Any, ClassVar

import cv2
from pydantic import Field

from pipeline.errors import SinkError
from pipeline.frame import StreamFormat
from pipeline.sinks.asked import Asked
from pipeline.sinks.sink import Announce, Shown, SinkOptions

__all__ = ["BrowserOptions", "BrowserSink"]

HOST = "127.0.0.1"
"""The page shows a camera and takes orders without a password: it is for this machine alone."""
FIRST_PORT = 8642
N_PORTS = 20
"""How many ports are tried from the first one on."""
_N_RECENT = 90
"""Frames that the figures of the moment are made of: three seconds at 30 fps."""
_RECENT_NS = 3_000_000_000


class BrowserOptions(SinkOptions):
    """A page with the live picture, figures and controls, for the browser of this machine."""

    VALUE: ClassVar[str | None] = "port"

    port: int | None = Field(None, ge=0, le=65535)
    """TCP port on 127.0.0.1; without one 8642 or the next free one, 0: any free one."""
    quality: int = Field(80, ge=1, le=100)
    """JPEG quality of the live picture; 80 is about 0.1 MB a frame at 1280x720."""

    def open(self, format: StreamFormat, *, pacing: str, announce: Announce) -> "BrowserSink":
        listener = _listener(self.port)
        port = listener.getsockname()[1]
        sink = BrowserSink(format, listener, quality=self.quality, pacing=pacing)
        taken = f" ({FIRST_PORT} is in use)" if self.port is None and port != FIRST_PORT else ""
        announce(f"browser: http://{HOST}:{port}{taken}")
        return sink


class BrowserSink:
    """Serves one stream's page; see `Sink` for who calls what."""

    inline: bool = False
    needs_matte: bool = False

    def __init__(self, format: StreamFormat, listener: socket.socket, *, quality: int, pacing: str) -> None:
        self.port: int = listener.getsockname()[1]
        self._about = {
            "source": format.source,
            "width": format.width,
            "height": format.height,
            "is_live": format.is_live,
            "n_frames": format.n_frames,
            "pacing": pacing,
        }
        self._encoding = [cv2.IMWRITE_JPEG_QUALITY, quality]
        self._lock = threading.Lock()
        self._numbers: dict[str, Any] = {}
        self._asked = Asked()
        self._recent: deque[tuple[int, int]] = deque(maxlen=_N_RECENT)
        self._newest: tuple[int, int] | None = None
        self._n_encoded = 0
        # Here, because asyncio is 20 ms of every start, and most runs have no page.
        from pipeline.sinks.web import WebServer

        self._web = WebServer(listener, state=self.state, ask=self._asked.ask)

    def accept(self, shown: Shown) -> None:
        web = self._web
        if web.failure:
            raise SinkError(f"browser: the page's server on port {self.port} ended: {web.failure}; start the run again")
        now_ns = time.monotonic_ns()
        with self._lock:
            self._recent.append((now_ns, now_ns - shown.captured_ns))
            self._newest = (shown.sequence, shown.pts_ns)
        if web.wants_still:
            web.give_still(shown.composite_bgr.copy(), shown.sequence)
        if web.wants_picture:
            web.wants_picture = False
            done, jpeg = cv2.imencode(".jpg", shown.composite_bgr, self._encoding)
            if not done:
                raise SinkError(f"browser: a picture of {shown.composite_bgr.shape} could not be encoded as JPEG")
            self._n_encoded += 1
            web.give_picture(jpeg.tobytes())

    def commands(self) -> list[dict[str, Any]]:
        return self._asked.take()

    def update(self, numbers: dict[str, Any]) -> None:
        with self._lock:
            self._numbers = numbers
        self._asked.learn(numbers)

    def close(self) -> None:
        self._web.close()

    def state(self) -> dict[str, Any]:
        """What /api/state answers: the last `update`, what the stream is, and the figures of the moment."""
        now_ns = time.monotonic_ns()
        with self._lock:
            numbers, newest, recent = self._numbers, self._newest, list(self._recent)
        fresh = [(at_ns, late_ns) for at_ns, late_ns in recent if now_ns - at_ns < _RECENT_NS]
        span_ns = fresh[-1][0] - fresh[0][0] if fresh else 0
        return {
            **numbers,
            "stream": self._about,
            "now": {
                "fps": round((len(fresh) - 1) * 1e9 / span_ns, 2) if span_ns else 0.0,
                "latency_ms": round(median(late_ns for _, late_ns in fresh) * 1e-6, 2) if fresh else None,
            },
            "sequence": newest[0] if newest else None,
            "pts_s": round(newest[1] * 1e-9, 3) if newest else None,
            "encoded": self._n_encoded,
            "idle_ms": round((now_ns - recent[-1][0]) * 1e-6) if recent else None,
        }


def _listener(port: int | None) -> socket.socket:
    ports = range(FIRST_PORT, FIRST_PORT + N_PORTS) if port is None else (port,)
    for candidate in ports:
        try:
            return socket.create_server((HOST, candidate), backlog=16)
        except OSError as error:
            if error.errno in {errno.EACCES, errno.EPERM}:
                raise SinkError(
                    f"browser: port {candidate} may not be opened without privileges; choose one above 1023, "
                    f"such as --sink browser:{FIRST_PORT}"
                ) from error
            if error.errno != errno.EADDRINUSE:
                raise SinkError(f"browser: port {candidate} on {HOST} cannot be opened: {error.strerror}") from error
    if port is None:
        raise SinkError(
            f"browser: ports {FIRST_PORT} to {FIRST_PORT + N_PORTS - 1} are all in use on {HOST}; "
            f"end one of the programs there, or name a free port, such as --sink browser:9000"
        )
    raise SinkError(
        f"browser: port {port} is in use on {HOST}; end the program there, or take another port "
        f"(--sink browser:{port + 1 if port < 65535 else FIRST_PORT}; --sink browser takes the next free one by itself)"
    )
