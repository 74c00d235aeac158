"""Stands for `cuda.bindings.runtime`, with files in the place of device memory: processes really share it.

A handle is the name of a file, so what one process exports another one opens, and what is not given back is left lying
in the folder. Work is done when it is queued. Environment: HOST_CUDA, the folder; HOST_CUDA_ERRORS, a JSON object of
function and error number; HOST_CUDA_ACTS, of function and `die` or `hang`, and of what is opened `copy` or `empty`;
HOST_CUDA_FOREIGN, where another GPU lies that all processes but the one of HOST_CUDA_OWNER work on.
"""
# ruff: noqa: N816  # CUDA's own names

import ctypes
import json
import mmap
import os
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

cudaStreamNonBlocking = 1
cudaEventBlockingSync, cudaEventDisableTiming, cudaEventInterprocess = 1, 2, 4
cudaIpcMemLazyEnablePeerAccess = 1
cudaHostRegisterPortable = 1
cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2, cudaMemcpyDeviceToDevice=3)
cudaDeviceAttr = SimpleNamespace(cudaDevAttrIpcEventSupport=125)

_HERE = "0000:18:00.0"
_INVALID_VALUE, _UNINITIALIZED, _NO_HANDLE = 1, 201, 400


class _Handle:
    """64 bytes, no more and no less, as the real classes have it."""

    def __init__(self) -> None:
        self._reserved = bytes(64)

    @property
    def reserved(self) -> bytes:
        """The bytes."""
        return self._reserved

    @reserved.setter
    def reserved(self, value: bytes) -> None:
        if len(value) != 64:
            raise ValueError(f"reserved length must be 64, is {len(value)}")
        self._reserved = value


class cudaIpcMemHandle_t(_Handle):  # noqa: N801  # CUDA's own name, as all below
    """Of memory."""


class cudaIpcEventHandle_t(_Handle):  # noqa: N801
    """Of an event."""


class _Mapped:
    def __init__(self, path: Path, is_owner: bool) -> None:
        self.path, self.is_owner, self.n_opened = path, is_owner, 1
        act = "" if is_owner else _asked("cudaIpcOpenMemHandle")
        access = mmap.ACCESS_COPY if act in {"copy", "empty"} else mmap.ACCESS_WRITE
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=access)
        if act == "empty":
            self._map[:] = bytes(len(self._map))
        self._first: Any = ctypes.c_char.from_buffer(self._map)
        self.address = ctypes.addressof(self._first)

    def close(self) -> None:
        """Unmapped; a file that this process made is removed."""
        del self._first
        self._map.close()
        if self.is_owner:
            self.path.unlink()


_mapped: dict[int, _Mapped] = {}


def _act(name: str, *, values: int = 0) -> tuple[Any, ...] | None:
    """Note the call; the refusal that was asked for, if any."""
    folder = Path(os.environ["HOST_CUDA"])
    with (folder.parent / "calls").open("a", encoding="ascii") as file:
        file.write(f"{'owner' if _is_owner() else 'other'} {name}\n")
    act = _asked(name)
    if act == "die":
        os._exit(3)
    if act == "hang":
        time.sleep(600)
    error = json.loads(os.environ.get("HOST_CUDA_ERRORS", "{}")).get(name, 0)
    return (error, *([None] * values)) if error else None


def _asked(name: str) -> str:
    act: str = json.loads(os.environ.get("HOST_CUDA_ACTS", "{}")).get(name, "")
    return act


def _is_owner() -> bool:
    return os.environ.get("HOST_CUDA_OWNER") == str(os.getpid())


def _new(kind: str, n_bytes: int) -> Path:
    path = Path(os.environ["HOST_CUDA"]) / f"{kind}-{os.getpid()}-{uuid.uuid4().hex[:16]}"
    with path.open("wb") as file:
        file.truncate(n_bytes)
    return path


def _named(handle: _Handle) -> tuple[Path, int]:
    """The file of a handle, and an error number."""
    path = Path(os.environ["HOST_CUDA"]) / handle.reserved.rstrip(b"\0").decode()
    if path.name.split("-")[1] == str(os.getpid()):
        return path, _UNINITIALIZED
    return path, 0 if path.is_file() else _NO_HANDLE


def _exported(handle: _Handle, path: Path) -> _Handle:
    handle.reserved = path.name.encode().ljust(64, b"\0")
    return handle


def cudaMalloc(n_bytes: int) -> tuple[Any, ...]:
    """A file of so many bytes."""
    if refused := _act("cudaMalloc", values=1):
        return refused
    made = _Mapped(_new("memory", n_bytes), is_owner=True)
    _mapped[made.address] = made
    return 0, made.address


def cudaFree(address: int) -> tuple[int]:
    """The file is removed."""
    _mapped.pop(address).close()
    return (0,)


def cudaIpcGetMemHandle(address: int) -> tuple[Any, ...]:
    """The file's name; only for the beginning of an allocation."""
    if refused := _act("cudaIpcGetMemHandle", values=1):
        return refused
    if address not in _mapped:
        return _INVALID_VALUE, None
    return 0, _exported(cudaIpcMemHandle_t(), _mapped[address].path)


def cudaIpcOpenMemHandle(handle: cudaIpcMemHandle_t, flags: int) -> tuple[Any, ...]:
    """Another process's file; a second time it is the same address."""
    if refused := _act("cudaIpcOpenMemHandle", values=1):
        return refused
    assert flags == cudaIpcMemLazyEnablePeerAccess
    path, error = _named(handle)
    if error:
        return error, None
    for known in _mapped.values():
        if known.path == path:
            known.n_opened += 1
            return 0, known.address
    opened = _Mapped(path, is_owner=False)
    _mapped[opened.address] = opened
    return 0, opened.address


def cudaIpcCloseMemHandle(address: int) -> tuple[int]:
    """Unmapped when it was closed as often as it was opened."""
    _act("cudaIpcCloseMemHandle")
    known = _mapped.get(address)
    if known is None or known.is_owner:
        return (_INVALID_VALUE,)
    known.n_opened -= 1
    if not known.n_opened:
        _mapped.pop(address).close()
    return (0,)


def cudaEventCreateWithFlags(flags: int) -> tuple[int, Any]:
    """A file, so that an event that is not destroyed is seen."""
    return 0, SimpleNamespace(path=_new("event", 1), flags=flags, is_owner=True)


def cudaEventDestroy(event: Any) -> tuple[int]:
    """Its maker removes the file."""
    if event.is_owner:
        event.path.unlink()
    return (0,)


def cudaIpcGetEventHandle(event: Any) -> tuple[Any, ...]:
    """The file's name; only for events that were made to be shared."""
    if refused := _act("cudaIpcGetEventHandle", values=1):
        return refused
    if event.flags & 6 != 6:
        return _NO_HANDLE, None
    return 0, _exported(cudaIpcEventHandle_t(), event.path)


def cudaIpcOpenEventHandle(handle: cudaIpcEventHandle_t) -> tuple[Any, ...]:
    """Another process's event."""
    if refused := _act("cudaIpcOpenEventHandle", values=1):
        return refused
    path, error = _named(handle)
    return (error, None) if error else (0, SimpleNamespace(path=path, flags=6, is_owner=False))


def cudaMemcpyAsync(to: int, source: int, n_bytes: int, kind: int, stream: int) -> tuple[int]:
    """Done at once."""
    assert stream == 5
    _act(f"cudaMemcpyAsync {kind}")
    ctypes.memmove(to, source, n_bytes)
    return (0,)


def cudaDeviceGetPCIBusId(length: int, device: int) -> tuple[int, bytes]:
    """As C fills a buffer: a zero behind the text."""
    foreign = os.environ.get("HOST_CUDA_FOREIGN", _HERE)
    return 0, (_HERE if _is_owner() else foreign).encode().ljust(length, b"\0")


def cudaDeviceGetAttribute(attribute: int, device: int) -> tuple[Any, ...]:
    """1, or 0 where an error was asked for."""
    return 0, 0 if _act("cudaDeviceGetAttribute") else 1


def cudaGetErrorString(error: int) -> tuple[int, bytes]:
    """Text of a number."""
    return 0, b"as the driver says"


def cudaMemGetInfo() -> tuple[int, int, int]:
    """Little."""
    return 0, 3_000_000, 9_000_000


def _noted(name: str, *values: Any) -> Callable[..., tuple[Any, ...]]:
    def call(*_: object) -> tuple[Any, ...]:
        return _act(name, values=len(values)) or (0, *values)

    return call


cudaSetDevice = _noted("cudaSetDevice")
cudaStreamCreateWithFlags = _noted("cudaStreamCreateWithFlags", 5)
cudaStreamDestroy = _noted("cudaStreamDestroy")
cudaStreamSynchronize = _noted("cudaStreamSynchronize")
cudaStreamWaitEvent = _noted("cudaStreamWaitEvent")
cudaEventRecord = _noted("cudaEventRecord")
cudaEventSynchronize = _noted("cudaEventSynchronize")
cudaHostRegister = _noted("cudaHostRegister")
cudaHostUnregister = _noted("cudaHostUnregister")
cudaGetLastError = _noted("cudaGetLastError")


def install(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """This process owns, and every process that it starts has, this module as cuda-bindings; where memory lies."""
    package, memory = folder / "packages/cuda/bindings", folder / "memory"
    package.mkdir(parents=True)
    memory.mkdir()
    for path in (package.parent / "__init__.py", package / "__init__.py"):
        path.touch()
    line = f"import sys, {__name__}; sys.modules[__name__] = sys.modules[{__name__!r}]\n"
    (package / "runtime.py").write_text(line, encoding="ascii")
    monkeypatch.syspath_prepend(package.parents[1])
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", sys.modules[__name__])
    monkeypatch.setenv("HOST_CUDA", str(memory))
    monkeypatch.setenv("HOST_CUDA_OWNER", str(os.getpid()))
    return memory
