"""Where frames come from: webcam, network, file, synthetic, demo, behind one seam.

A source is named by one text, its URI; `source_from_uri` makes options of it, `options.open()` opens it. To
add a kind: write its file, add its line to `SOURCES`, and its form to `source_from_uri`.
"""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from pydantic import ValidationError

from configs import ConfigError, near_matches
from pipeline.sources.demo import DemoOptions
from pipeline.sources.file import FileOptions
from pipeline.sources.network import SCHEMES, NetworkOptions
from pipeline.sources.source import Grabbed, OnEvent, Source, SourceOptions, Wanted
from pipeline.sources.synthetic import SyntheticOptions
from pipeline.sources.uri import masked
from pipeline.sources.webcam import Camera, WebcamOptions, cameras

__all__ = [
    "SOURCES",
    "Camera",
    "Grabbed",
    "OnEvent",
    "Source",
    "SourceOptions",
    "Wanted",
    "cameras",
    "masked",
    "source_from_uri",
]

SOURCES: dict[str, type[SourceOptions]] = {
    "webcam": WebcamOptions,
    "network": NetworkOptions,
    "file": FileOptions,
    "synthetic": SyntheticOptions,
    "demo": DemoOptions,
}

PAINTED = ("synthetic", "demo")
UNITS = ("_px_s", "_hz", "_s")
"""Suffixes that a URI may leave out: `speed` is `speed_px_s`."""


def source_from_uri(text: str, *, wanted: Wanted | None = None) -> SourceOptions:
    """Options from a source's URI.

    `0` or `/dev/videoN`; `rtsp://…`, `http(s)://…`; a file path; `synthetic` or `demo`, each also as
    `demo:1280x720@30?seconds=10`.

    Args:
        text: the URI.
        wanted: size and rate from the command line; a size in the URI wins. A file or a network stream is
            scaled to the size and keeps its own rate.

    Raises:
        ConfigError: nothing of that form, or an option or value that the kind does not take.
    """
    asked = wanted or Wanted()
    text = text.strip()
    shown = masked(text)
    name = text.split(":", 1)[0].split("?", 1)[0]
    size = {"width": asked.width, "height": asked.height}
    if not text:
        raise ConfigError("source: is empty; pass a camera number, an address, a file, 'synthetic' or 'demo'")
    if text.isdecimal() or text.startswith("/dev/"):
        return _made(WebcamOptions, {"device": text, "rate_hz": asked.rate_hz, **size}, shown)
    if "://" in text:
        scheme = text.partition("://")[0].lower()
        if scheme == "file":
            return _made(FileOptions, {"path": text.partition("://")[2], **size}, shown)
        if scheme not in SCHEMES:
            hint = near_matches(scheme, [*SCHEMES, "file"])
            raise ConfigError(f"source {shown!r}: unknown scheme {scheme!r}; {hint}")
        return _made(NetworkOptions, {"uri": text, **size}, shown)
    if name in PAINTED:
        return _painted(name, text.removeprefix(name), asked, shown)
    if "/" not in text and not Path(text).suffix and not Path(text).exists():
        known = [*PAINTED, *(camera.path for camera in cameras())]
        hint = near_matches(name, known)
        raise ConfigError(f"source {shown!r}: no camera number, address, file or built-in source; {hint}")
    return _made(FileOptions, {"path": text, **size}, shown)


def _painted(name: str, rest: str, asked: Wanted, shown: str) -> SourceOptions:
    """`:WxH@FPS?key=value&…`."""
    size, _, query = rest.partition("?")
    own = Wanted.from_text(size.removeprefix(":")) if size.removeprefix(":") else Wanted()
    fields: dict[str, Any] = {
        "width": own.width or asked.width,
        "height": own.height or asked.height,
        "rate_hz": own.rate_hz or asked.rate_hz,
    }
    kind = SOURCES[name]
    by_name = {field: field for field in kind.model_fields}
    for field in kind.model_fields:
        for unit in UNITS:
            by_name.setdefault(field.removesuffix(unit), field)
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in by_name:
            raise ConfigError(f"source {shown!r}: unknown option {key!r}; {near_matches(key, by_name)}")
        fields[by_name[key]] = value
    return _made(kind, fields, shown)


def _made(kind: type[SourceOptions], fields: dict[str, Any], shown: str) -> SourceOptions:
    given = {key: value for key, value in fields.items() if value is not None}
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        # The received value of an address is not repeated: it may hold a password.
        received = "" if key == "uri" else f" (received {first.get('input')!r})"
        raise ConfigError(f"source {shown!r}: {key}: {first['msg'].removeprefix('Value error, ')}{received}") from None
