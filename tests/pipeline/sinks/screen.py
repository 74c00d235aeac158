"""Screens for the window: one that is only pretended, and a real X server without a monitor.

The trap: Qt belongs to the thread that first calls it, for the life of the process, so a window on the real
server is opened by a child process, never by the tests' own.
"""

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import ROOT

CLOSE_WINDOW = """
import ctypes, sys

X = ctypes.CDLL("libX11.so.6")
X.XOpenDisplay.restype = ctypes.c_void_p
X.XInternAtom.restype = ctypes.c_ulong
X.XInternAtom.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
X.XSendEvent.argtypes = [ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int, ctypes.c_long, ctypes.c_void_p]
X.XCloseDisplay.argtypes = [ctypes.c_void_p]

class ClientMessage(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("serial", ctypes.c_ulong), ("sent", ctypes.c_int),
                ("display", ctypes.c_void_p), ("window", ctypes.c_ulong), ("message", ctypes.c_ulong),
                ("format", ctypes.c_int), ("data", ctypes.c_long * 5), ("rest", ctypes.c_long * 20)]

display, window = X.XOpenDisplay(None), int(sys.argv[1])
event = ClientMessage(33, 0, 0, display, window, X.XInternAtom(display, b"WM_PROTOCOLS", 0), 32)
event.data[0] = X.XInternAtom(display, b"WM_DELETE_WINDOW", 0)
X.XSendEvent(display, window, 0, 0, ctypes.byref(event))
X.XCloseDisplay(display)
"""
"""What a window's close button sends."""


class PretendedScreen:
    """Takes the place of OpenCV's window functions; `keys` are what a person presses, one a frame."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pictures: list[NDArray[np.uint8]] = []
        self.keys: list[str] = []
        self.windows: set[str] = set()
        self.is_closed_by_person = False
        monkeypatch.setattr(cv2, "namedWindow", lambda title, flags: self.windows.add(title))
        monkeypatch.setattr(cv2, "resizeWindow", lambda title, width, height: None)
        monkeypatch.setattr(cv2, "destroyWindow", self.windows.remove)
        monkeypatch.setattr(cv2, "imshow", lambda title, image_bgr: self.pictures.append(image_bgr.copy()))
        monkeypatch.setattr(cv2, "waitKey", lambda wait_ms: ord(self.keys.pop(0)) if self.keys else -1)
        monkeypatch.setattr(cv2, "getWindowProperty", lambda title, what: 0.0 if self.is_closed_by_person else 1.0)


class XServer:
    """A real X server, drawing into a file."""

    def __init__(self, display: str, folder: Path) -> None:
        self.display = display
        self._framebuffer = folder / "Xvfb_screen0"

    def picture(self) -> NDArray[np.uint8]:
        """(height, width, 3) BGR of the whole screen."""
        # X's own format (XWDFile.h): 25 words of header, a name, 12 bytes a colour, then rows of 32 bits a pixel.
        raw = self._framebuffer.read_bytes()
        words = np.frombuffer(raw, ">u4", 25)
        size, width, height, row_bytes, n_colours = (int(words[index]) for index in (0, 4, 5, 12, 19))
        pixels = np.frombuffer(raw, np.uint8, height * row_bytes, size + 12 * n_colours)
        return pixels.reshape(height, row_bytes // 4, 4)[:, :width, :3].copy()

    def window(self, title: str) -> str:
        """Id of the window of that name; empty while there is none."""
        found = self._run("xdotool", "search", "--name", title)
        return found.split()[-1] if found else ""

    def press(self, window: str, key: str) -> None:
        """Press a key, by its X name."""
        self._run("xdotool", "windowfocus", "--sync", window, "key", key)

    def click_close(self, window: str) -> None:
        """Close the window as a person would."""
        self._run(sys.executable, "-c", CLOSE_WINDOW, window)

    def _run(self, *command: str) -> str:
        told = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        return told.stdout

    @property
    def environment(self) -> dict[str, str]:
        """For children that shall draw here."""
        return {**os.environ, "DISPLAY": self.display, "PYTHONPATH": str(ROOT)}


@contextmanager
def x_server(folder: Path) -> Iterator[XServer]:
    """Start an X server; skips where what it needs is missing."""
    for program, package in (("Xvfb", "xvfb"), ("xdotool", "xdotool")):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}: apt-get install {package}")
    try:
        ctypes.CDLL("libX11.so.6")
    except OSError:
        pytest.skip("needs libX11: apt-get install libx11-6")
    reading, writing = os.pipe()
    # Without -noreset it starts anew whenever its last client leaves, as xdotool does, and refuses who comes meanwhile.
    options = ["-displayfd", str(writing), "-noreset", "-screen", "0", "800x600x24", "-nolisten", "tcp"]
    options += ["-fbdir", str(folder)]
    with subprocess.Popen(["Xvfb", *options], pass_fds=[writing], stderr=subprocess.DEVNULL) as server:
        os.close(writing)
        try:
            with os.fdopen(reading) as told:
                yield XServer(f":{told.readline().strip()}", folder)
        finally:
            server.terminate()
