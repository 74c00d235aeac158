"""The seam of all sinks: frozen options that open a sink, which is given shown frames.

A sink lives in a thread of its own (unless it is `inline`) and may take its time; render decides what
that means for the stream. The trap: pixels are lent, valid until `accept` returns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from configs import Options
from pipeline.frame import StreamFormat
from pipeline.matte import Matte

__all__ = ["Announce", "PlainSink", "Shown", "Sink", "SinkOptions"]

Announce = Callable[[str], None]
"""Prints one line to whoever started the run; not to be called from `accept`."""


@dataclass(slots=True)
class Shown:
    """What a sink gets of a frame."""

    composite_bgr: NDArray[np.uint8]
    """(height, width, 3), a view of the slot, valid until `accept` returns."""
    matte: Matte | None
    """Of this very frame, to keep; None unless a sink of the stream needs one."""
    sequence: int
    pts_ns: int
    captured_ns: int
    """When the source's read returned, on the monotonic clock."""
    stream: int


class Sink(Protocol):
    """Opened; fed in order; closed once. `accept` and `close` come from one thread, the rest from render's."""

    inline: bool
    """True: so cheap that render calls it itself."""
    needs_matte: bool

    def accept(self, shown: Shown) -> None:
        """Take one frame.

        Raises:
            SinkError: it cannot go on; it is closed and named, the other sinks go on.
        """

    def commands(self) -> list[dict[str, Any]]:
        """What a person asked for since the last call: `{"set": "effect", "value": "blur"}`, `{"do": "quit"}`, ..."""

    def update(self, numbers: dict[str, Any]) -> None:
        """Figures and settings to display, about twice a second."""

    def close(self) -> None:
        """Finish what was begun, such as a file; calling it twice is fine."""


class PlainSink:
    """A sink without a person at it: nothing to display, nothing to ask for."""

    inline: bool = False
    needs_matte: bool = False
    needs_picture: bool = True
    """False: `composite_bgr` is not looked at, so one made on a GPU stays there. Sinks without this attribute look."""

    def commands(self) -> list[dict[str, Any]]:
        """Nobody asks."""
        return []

    def update(self, numbers: dict[str, Any]) -> None:
        """Nobody looks."""
        del numbers

    def close(self) -> None:
        """Nothing to finish."""


class SinkOptions(Options):
    """Base of every sink's options; the first docstring line is what `list` shows."""

    VALUE: ClassVar[str | None] = None
    """The field that `NAME:VALUE` sets; None: the sink takes no value."""

    def open(self, format: StreamFormat, *, pacing: str, announce: Announce) -> Sink:
        """Open it for a stream of this format.

        Raises:
            SinkError: it cannot be opened; the message says what would help.
        """
        raise NotImplementedError
