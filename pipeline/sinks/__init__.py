"""Sinks: where composites go. One file a kind; the table below is all that names them.

A sink is chosen by a text, `NAME[:VALUE]`, such as `file:out.mp4`. The trap: a text is looked at before any
process starts, but files and windows are opened by render, in its own process.
"""

import os
from collections.abc import Mapping

from pydantic import ValidationError

from configs import ConfigError, near_matches
from pipeline.sinks.browser import BrowserOptions
from pipeline.sinks.file import FileOptions
from pipeline.sinks.frames import FramesOptions
from pipeline.sinks.jsonl import JsonLinesOptions
from pipeline.sinks.masks import MasksOptions
from pipeline.sinks.null import NullOptions
from pipeline.sinks.sink import Announce, PlainSink, Shown, Sink, SinkOptions
from pipeline.sinks.window import WindowOptions

__all__ = [
    "SINKS",
    "Announce",
    "PlainSink",
    "Shown",
    "Sink",
    "SinkOptions",
    "default_sink",
    "sink_from_text",
]


def sink_from_text(text: str) -> SinkOptions:
    """Options from `NAME[:VALUE]`: `window`, `browser:8642`, `file:out.mp4`.

    Raises:
        ConfigError: an unknown name, a value that is missing, not wanted or impossible.
    """
    name, separator, value = text.partition(":")
    kind = SINKS.get(name)
    if kind is None:
        if text.lower().endswith((".mp4", ".mkv", ".mov")):
            raise ConfigError(f"sink {text!r}: unknown sink {name!r}; did you mean 'file:{text}'?")
        raise ConfigError(f"sink {text!r}: unknown sink {name!r}; {near_matches(name, SINKS)}")
    if separator and kind.VALUE is None:
        raise ConfigError(f"sink {text!r}: {name} takes no value; write {name!r}")
    if separator and not value:
        raise ConfigError(f"sink {text!r}: nothing after the colon; write {_example(name, kind)!r}")
    try:
        return kind.model_validate({kind.VALUE: value} if kind.VALUE and separator else {})
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "missing":
            raise ConfigError(f"sink {text!r}: which {kind.VALUE}? write {_example(name, kind)!r}") from None
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"sink {text!r}: {reason} (received {first.get('input')!r})") from None


def default_sink(environment: Mapping[str, str] = os.environ) -> str:
    """`window` where there is a display, else `browser`."""
    # The OpenCV wheel draws through X11 alone; a Wayland desktop has it too, and then sets DISPLAY as well.
    return "window" if environment.get("DISPLAY") else "browser"


def _example(name: str, kind: type[SinkOptions]) -> str:
    values = {
        "path": "out.mp4" if name == "file" else "out.jsonl",
        "folder": name if name == "masks" else "pictures",
        "port": "8642",
    }
    return f"{name}:{values.get(kind.VALUE or '', 'VALUE')}"


SINKS: dict[str, type[SinkOptions]] = {
    "window": WindowOptions,
    "browser": BrowserOptions,
    "file": FileOptions,
    "frames": FramesOptions,
    "masks": MasksOptions,
    "jsonl": JsonLinesOptions,
    "null": NullOptions,
}
