"""A window on this machine's display, with keys.

    e  next effect      n  next engine      m  mask on and off      q, Esc  quit
    +  stronger         -  weaker           s  snapshot, a PNG in the current folder

Window and keys live in the sink's own thread, from the first call to the last: Qt takes the thread of the first
call for its own. The trap: without a display Qt ends the whole process, so the display is asked before OpenCV is.
"""

import ctypes
import ctypes.util
import os
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SinkError
from pipeline.frame import StreamFormat
from pipeline.sinks.sink import Announce, Shown, Sink, SinkOptions

__all__ = ["WindowOptions", "WindowSink", "display_problem"]

LARGEST_FIRST_SIZE = (1280, 720)
"""A larger picture begins scaled down to fit; the window can be resized."""
STRENGTH_STEP = 0.1
_TOLD_NS = 3_000_000_000
"""How long a line such as `saved ...` stays."""
_ESCAPE = 27


class WindowOptions(SinkOptions):
    """Show it in a window, with keys; needs a display."""

    def open(self, format: StreamFormat, *, pacing: str, announce: Announce) -> Sink:
        """Look for the display; the window itself opens with the first frame.

        Raises:
            SinkError: there is no display; the message says what to do instead.
        """
        problem = display_problem()
        if problem:
            raise SinkError(f"window: {problem}; watch it in a browser instead: --sink browser")
        announce("window: e effect, + - strength, n engine, m mask, s snapshot, q quit")
        return WindowSink(format)


def display_problem() -> str:
    """Why no window can be opened here; empty when one can."""
    name = os.environ.get("DISPLAY")
    if not name:
        if os.environ.get("WAYLAND_DISPLAY"):
            return "OpenCV draws through X11, and DISPLAY is not set (WAYLAND_DISPLAY is); start Xwayland"
        return "no display (DISPLAY is not set)"
    try:
        xcb = ctypes.CDLL(ctypes.util.find_library("xcb") or "libxcb.so.1")
    except OSError:
        return "libxcb is missing; apt-get install libxcb1"
    xcb.xcb_connect.restype = ctypes.c_void_p
    connection = ctypes.c_void_p(xcb.xcb_connect(name.encode(), None))
    try:
        has_error = xcb.xcb_connection_has_error(connection)
    finally:
        xcb.xcb_disconnect(connection)
    return f"the display {name} does not answer, or not to this user" if has_error else ""


class WindowSink:
    """Draws, and listens to keys between frames."""

    inline = False
    needs_matte = False

    def __init__(self, format: StreamFormat) -> None:
        self._title = f"segstream: {format.source}"
        self._picture_bgr = np.empty((format.height, format.width, 3), np.uint8)
        self._lock = threading.Lock()
        self._numbers: dict[str, Any] = {}
        self._commands: list[dict[str, Any]] = []
        self._is_open = False
        self._is_left = False
        self._wants_snapshot = False
        self._told = ""
        self._told_until_ns = 0

    def accept(self, shown: Shown) -> None:
        if self._is_left:
            return  # the person closed it: the run is about to end, and imshow would open it again
        if not self._is_open:
            self._open()
        np.copyto(self._picture_bgr, shown.composite_bgr)
        if self._wants_snapshot:
            self._wants_snapshot = False
            self._save(shown)
        with self._lock:
            told = self._told if time.monotonic_ns() < self._told_until_ns else ""
            texts = [text for text in (*_figures(self._numbers), told) if text]
        if texts:
            _write_texts(self._picture_bgr, texts)
        cv2.imshow(self._title, self._picture_bgr)
        key = cv2.waitKey(1)
        if key != -1:
            self._press(key & 0xFF)
        elif not self._is_visible():
            self._is_left = True
            self._is_open = False
            self._ask({"do": "quit"})

    def snapshot(self) -> None:
        """Keep the next picture as a PNG in the current folder."""
        self._wants_snapshot = True

    def commands(self) -> list[dict[str, Any]]:
        with self._lock:
            asked, self._commands = self._commands, []
        return asked

    def update(self, numbers: dict[str, Any]) -> None:
        with self._lock:
            # Copied, because keys change it at once: pressing `e` twice is two steps, whenever the numbers come.
            self._numbers = dict(numbers)

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            cv2.destroyWindow(self._title)
            cv2.waitKey(1)

    def _open(self) -> None:
        cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        height, width = self._picture_bgr.shape[:2]
        scale = min(1.0, LARGEST_FIRST_SIZE[0] / width, LARGEST_FIRST_SIZE[1] / height)
        cv2.resizeWindow(self._title, round(width * scale), round(height * scale))
        self._is_open = True

    def _is_visible(self) -> bool:
        try:
            return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:
            return False  # Qt ends with its last window, and then knows nothing any more

    def _press(self, key: int) -> None:
        letter = chr(key).lower()
        if letter == "q" or key == _ESCAPE:
            self._ask({"do": "quit"})
        elif letter == "s":
            self._ask({"do": "snapshot"})
        elif letter == "e":
            self._next("effect", "effects")
        elif letter == "n":
            self._next("engine", "engines")
        elif letter == "m":
            self._set("mask", not self._numbers.get("mask", True))
        elif letter in "+=-_":
            step = STRENGTH_STEP if letter in "+=" else -STRENGTH_STEP
            strength = self._numbers.get("strength", 1.0) + step
            self._set("strength", round(min(2.0, max(0.0, strength)), 2))

    def _next(self, what: str, choices: str) -> None:
        names = self._numbers.get(choices) or []
        if not names:
            return
        now = str(self._numbers.get(what, ""))
        # `blur:20` is a blur; an engine's name is whole.
        at = next((i for i, name in enumerate(names) if now in (name, f"{name}:{now.partition(':')[2]}")), -1)
        self._set(what, names[(at + 1) % len(names)])

    def _set(self, what: str, value: Any) -> None:
        with self._lock:
            self._numbers[what] = value
        self._ask({"set": what, "value": value})

    def _ask(self, command: dict[str, Any]) -> None:
        with self._lock:
            self._commands.append(command)

    def _save(self, shown: Shown) -> None:
        path = Path(f"segstream-{time.strftime('%Y%m%d-%H%M%S')}-{shown.sequence:06d}.png")
        _, png = cv2.imencode(".png", shown.composite_bgr)
        try:
            path.write_bytes(png.data)
            told = f"saved {path}"
        except OSError as error:
            told = f"no snapshot: {error.strerror}"
        self._told, self._told_until_ns = told, time.monotonic_ns() + _TOLD_NS


def _figures(numbers: dict[str, Any]) -> tuple[str, str]:
    if not numbers:
        return "", ""
    first = f"{numbers.get('fps') or 0:.1f} fps"
    latency_ms = numbers.get("latency_ms") or {}
    if latency_ms.get("p50") is not None:
        first += f"   latency {latency_ms['p50']:.0f} ms, p99 {latency_ms.get('p99') or 0:.0f} ms"
    return first, "   ".join(filter(None, (numbers.get("effect"), numbers.get("engine"))))


def _write_texts(picture_bgr: NDArray[np.uint8], texts: list[str]) -> None:
    scale = max(0.4, picture_bgr.shape[0] / 1200)
    font, thickness = cv2.FONT_HERSHEY_SIMPLEX, max(1, round(2 * scale))
    row_px, edge_px = round(36 * scale), round(14 * scale)
    width_px = max(cv2.getTextSize(text, font, scale, thickness)[0][0] for text in texts) + 2 * edge_px
    panel_bgr = picture_bgr[: row_px * len(texts) + edge_px, :width_px]
    cv2.convertScaleAbs(panel_bgr, dst=panel_bgr, alpha=0.4)  # darker, so that white can be read on any picture
    for row, text in enumerate(texts, start=1):
        place = (edge_px, row_px * row)
        cv2.putText(picture_bgr, text, place, font, scale, (255, 255, 255), thickness, cv2.LINE_AA)
