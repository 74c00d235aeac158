"""A browser sink that is fed: frames with their number painted into the pixels, settings that follow commands.

The number stands in sixteen upright bars, black or white, so that JPEG cannot blur it.
"""

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.frame import StreamFormat
from pipeline.sinks.browser import BrowserOptions, BrowserSink
from pipeline.sinks.sink import Shown

WIDTH, HEIGHT = 320, 180
N_BITS = 16
FORMAT = StreamFormat(WIDTH, HEIGHT, Fraction(30), True, "synthetic")
NUMBERS = {
    "fps": 29.71,
    "latency_ms": {"p50": 22.41, "p95": 31.2, "p99": 44.87, "max": 138.4},
    "frames": {"captured": 1234, "shown": 1200, "dropped": {"stale": 30, "no_free_slot": 4, "crash": 0}},
    "mask_steadiness": {"pairs": 12, "flip_share": 0.00123, "warped_iou": 0.9713},
    "effect": "blur:12",
    "strength": 1.0,
    "mask": True,
    "engine": "person@512x288",
    "engines": ["person@512x288", "person@256x256"],
    "effects": ["blur", "cutout", "none", "pixelate"],
}


def opened(source: str = "synthetic", port: int = 0) -> BrowserSink:
    """A sink on any free port, with the figures of NUMBERS."""
    format = StreamFormat(WIDTH, HEIGHT, Fraction(30), True, source)
    sink = BrowserOptions(port=port).open(format, pacing="live", announce=lambda line: None)
    sink.update(dict(NUMBERS))
    return sink


def painted(number: int) -> NDArray[np.uint8]:
    """A frame that shows this number."""
    bits = [255 * (number >> bit & 1) for bit in range(N_BITS)]
    row = np.repeat(np.array(bits, np.uint8), WIDTH // N_BITS)
    return np.ascontiguousarray(np.broadcast_to(row[None, :, None], (HEIGHT, WIDTH, 3)))


def number_in(image_bgr: NDArray[np.uint8]) -> int:
    """The number that a frame shows."""
    half = WIDTH // N_BITS // 2
    middle = image_bgr[HEIGHT // 2, half :: WIDTH // N_BITS, 0]
    return sum(1 << bit for bit, level in enumerate(middle) if level > 127)


def shown(number: int, image_bgr: NDArray[np.uint8] | None = None) -> Shown:
    """What render gives a sink."""
    image = painted(number) if image_bgr is None else image_bgr
    return Shown(image, None, number, number * 33_333_333, time.monotonic_ns() - 20_000_000, 0)


def until(is_so: Callable[[], Any], timeout_s: float = 10.0) -> None:
    """Wait for something that will be so."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, "it never was"
        time.sleep(0.005)


def asked(sink: BrowserSink, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Any:
    """The answer to one request, read to its end as `body`; underscores in header names are dashes."""
    connection = http.client.HTTPConnection("127.0.0.1", sink.port, timeout=10)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        response = connection.getresponse()
        response.body = response.read()  # type: ignore[attr-defined]
        return response
    finally:
        connection.close()


def commanded(sink: BrowserSink, command: Any, **headers: str) -> Any:
    """The answer to one command."""
    body = command if isinstance(command, bytes) else json.dumps(command).encode()
    return asked(sink, "/api/command", "POST", body, **{"Content_Type": "application/json", **headers})


class Run:
    """Feeds a sink at about 60 frames a second and does as it is told, as a run would."""

    def __init__(self, sink: BrowserSink) -> None:
        self.sink = sink
        self.numbers: dict[str, Any] = dict(NUMBERS)
        self.commands: list[dict[str, Any]] = []
        self.is_paused = False
        self._is_over = False
        self._thread = threading.Thread(target=self._feed)
        self._thread.start()

    def _feed(self) -> None:
        number = 0
        while not self._is_over:
            if not self.is_paused:
                self.sink.accept(shown(number))
                number += 1
            for command in self.sink.commands():
                self.commands.append(command)
                if "set" in command:
                    self.numbers[command["set"]] = command["value"]
            self.sink.update(dict(self.numbers))
            time.sleep(1 / 60)

    def stop(self) -> None:
        """Feed no more; the sink stays open."""
        self._is_over = True
        self._thread.join()


@contextmanager
def running(sink: BrowserSink) -> Iterator[Run]:
    """A run that feeds the sink, and closes it."""
    run = Run(sink)
    try:
        yield run
    finally:
        run.stop()
        sink.close()
