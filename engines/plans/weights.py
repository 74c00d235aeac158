"""What a graph is made of beside its own file: an ONNX file may keep its weights in others (`.onnx.data`).

The trap: such a file is small and stays the same when the weights change, so its hash alone vouches for nothing. The
names are read from the file's protocol buffer (onnx.proto3 of the ONNX project, field numbers below) by walking its
tags: the stream has no `onnx` package, and weights that lie inside are stepped over, not read.
"""

import hashlib
import mmap
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from engines.errors import EngineMismatch
from engines.manifest import sha256_of
from engines.spec import EngineSpec

__all__ = ["graph_sha256", "weight_files"]

_INSIDE: Final[dict[str, dict[int, str]]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
"""Message to those of its fields that lead to where a tensor says that its values lie elsewhere."""

_WORD = b"location"
"""The key of such an entry."""


def graph_sha256(spec: EngineSpec) -> str:
    """The hash of a graph and of all its weights: that of its file where they are inside, as they mostly are.

    Raises:
        EngineMismatch: a file of weights is missing or lies outside the graph's folder.
    """
    files = weight_files(spec.path)
    if not files:
        return spec.sha256
    digest = hashlib.sha256(spec.sha256.encode())
    for file in files:
        digest.update(f"\n{file.relative_to(spec.path.parent).as_posix()} {sha256_of(file)}".encode())
    return digest.hexdigest()


def weight_files(path: Path) -> list[Path]:
    """The files beside an ONNX file in which its weights lie; none where they are inside.

    Raises:
        EngineMismatch: one is missing or lies outside the folder, or this is no ONNX file.
    """
    with path.open("rb") as file:
        if not path.stat().st_size:
            return []
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                names = set(_locations(data, 0, len(data), "model"))
            except (ValueError, IndexError) as error:
                raise EngineMismatch(f"{path}: not an ONNX file ({error}); export it again") from error
    found = []
    for name in sorted(names):
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts:
            raise EngineMismatch(
                f"{path} has weights in {name}, outside its folder; save them inside or beside it "
                "(onnx.save_model, save_as_external_data=False)"
            )
        if not (path.parent / place).is_file():
            raise EngineMismatch(f"{path} has weights in {name}, which is not beside it; copy both, or export it again")
        found.append(path.parent / place)
    return found


def _locations(data: mmap.mmap, start: int, end: int, message: str) -> Iterator[str]:
    """The values of all entries `location` in a message."""
    if message == "entry":
        pair = {field: data[begin:stop] for field, begin, stop in _fields(data, start, end)}
        if pair.get(1) == _WORD:
            yield pair.get(2, b"").decode()
        return
    leads = _INSIDE[message]
    for field, begin, stop in _fields(data, start, end):
        if field in leads:
            yield from _locations(data, begin, stop, leads[field])


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(number, first byte, byte after the last) of each field that has a length; numbers are passed over."""
    at = start
    while at < end:
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            _, at = _varint(data, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        elif kind == 2:
            length, at = _varint(data, at)
            if at + length > end:
                raise ValueError(f"a field at byte {at} is longer than what it is in")
            yield tag >> 3, at, at + length
            at += length
        else:
            raise ValueError(f"byte {at - 1} is no tag")


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError(f"byte {at} goes on with a number that is too long")
