"""What there is to choose from on this machine, as text: sources, effects, sinks, engines, cameras, backends.

Reads the tables of the house, so a new line there shows here. The trap: half of a webcam's device
files give no pictures (they carry metadata), so each is asked what it is.
"""

import fcntl
import importlib
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engines.names import KnownEngine, known_engines
from engines.runtime import BACKENDS, backend_reason

__all__ = ["Camera", "cameras_found", "list_all", "summary_of"]

_VIDIOC_QUERYCAP = 0x80685600
_CAPABILITY = struct.Struct("<16s32s32sIII12x")  # driver, card, bus, version, capabilities, of this device
_VIDEO_CAPTURE = 0x1
_HAS_DEVICE_CAPS = 0x80000000


@dataclass(frozen=True)
class Camera:
    """A device file that gives pictures, or that could not be asked."""

    path: Path
    name: str
    """As its driver calls it; empty when it could not be asked."""
    problem: str = ""
    """`permission denied`, `device or resource busy`; empty when it can be opened."""


def list_all() -> str:
    """Several lines for people, one section a table."""
    from pipeline.effects import EFFECTS
    from pipeline.sinks import SINKS
    from pipeline.sources import SOURCES

    sections = [
        ("Sources", [(name, summary_of(kind)) for name, kind in SOURCES.items()]),
        ("Effects", [(name, summary_of(kind)) for name, kind in EFFECTS.items()]),
        ("Sinks", [(name, summary_of(kind)) for name, kind in SINKS.items()]),
        ("Engines", _engines(known_engines())),
        ("Cameras", [(str(camera.path), camera.problem or camera.name) for camera in cameras_found()]),
        ("Backends", [(name, backend_reason(name) or summary_of(kind)) for name, kind in BACKENDS.items()]),
    ]
    return "\n\n".join(_section(title, rows) for title, rows in sections)


def summary_of(kind: object) -> str:
    """First line of what a table leads to: a class, or a lazy "module:Class"."""
    if isinstance(kind, str):
        module, _, name = kind.partition(":")
        kind = getattr(importlib.import_module(module), name)
    lines = (kind.__doc__ or "").strip().splitlines()
    return lines[0].rstrip(".") if lines else ""


def cameras_found(folder: Path = Path("/dev")) -> list[Camera]:
    """Video devices that give pictures, in the order of their numbers; those that refuse are listed with the reason."""
    paths = [path for path in folder.glob("video*") if path.name[5:].isdigit()]
    asked = (_ask(path) for path in sorted(paths, key=lambda path: int(path.name[5:])))
    return [camera for camera in asked if camera is not None]


def _ask(path: Path) -> Camera | None:
    """None for a device that is no camera."""
    answer = bytearray(_CAPABILITY.size)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    except OSError as error:
        return Camera(path, "", _lower(error.strerror))
    try:
        fcntl.ioctl(descriptor, _VIDIOC_QUERYCAP, answer)
    except OSError:
        return None  # not a video device, whatever it is called
    finally:
        os.close(descriptor)
    _, card, _, _, of_all, of_this = _CAPABILITY.unpack(answer)
    capabilities = of_this if of_all & _HAS_DEVICE_CAPS else of_all
    if not capabilities & _VIDEO_CAPTURE:
        return None
    return Camera(path, card.split(b"\0")[0].decode(errors="replace"))


def _engines(known: Iterable[KnownEngine]) -> list[tuple[str, str]]:
    """The first of a name is the one that is opened; later ones are named as hidden."""
    rows: list[tuple[str, str]] = []
    first: dict[str, Path] = {}
    for engine in known:
        told = engine.problem or f"{engine.graphs}  ({engine.manifest_path})"
        if engine.name in first:
            told = f"{told}, hidden by {first[engine.name]}"
        first.setdefault(engine.name, engine.manifest_path)
        rows.append((engine.name, told))
    rows.append(("fake[@WxH]", "finds the shape of the synthetic source; needs no file"))
    return rows


def _section(title: str, rows: Iterable[tuple[str, str]]) -> str:
    table = list(rows)
    if not table:
        return f"{title}\n  none found"
    width = max(len(name) for name, _ in table)
    return "\n".join([title, *(f"  {name:<{width}}  {told}".rstrip() for name, told in table)])


def _lower(text: str | None) -> str:
    return (text or "cannot be opened").lower()
