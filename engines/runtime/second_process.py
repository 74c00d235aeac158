"""A second process, to try something with that two must do: a fresh interpreter, and a line to talk over.

Nothing is forked or pickled: messages are JSON objects. It ends when its owner does, however that ends, because the
line then reads end-of-file. The trap: its stderr is thrown away; what went wrong in it is told over the line.
"""

import contextlib
import importlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from engines.errors import EngineError

__all__ = ["Line", "SecondProcess", "answer"]

_ENTRY = (
    "import sys; sys.path[:] = {path!r}; from engines.runtime.second_process import answer; answer({entry!r}, {fd})"
)
_PATIENCE_S = 3.0
"""For a process to end by itself, and again after it was killed."""


class Line:
    """The second process's end of the line."""

    def __init__(self, fd: int) -> None:
        self._line: Connection[Any, Any] = Connection(fd)
        self.fd = fd
        """Readable when something arrives, and when the other end is gone."""

    def send(self, message: dict[str, Any]) -> None:
        """Say something to the owner."""
        self._line.send_bytes(json.dumps(message).encode())

    def receive(self) -> dict[str, Any]:
        """What the owner says next; waits. Raises EOFError when it is gone."""
        message: dict[str, Any] = json.loads(self._line.recv_bytes())
        return message


class SecondProcess:
    """The owner's end; `with` ends the process.

    Args:
        entry: `module:function`; it gets the `Line`, and the process ends when it returns.
        fds: descriptors that it inherits, under the same numbers.

    Raises:
        EngineError: the system starts no process.
    """

    def __init__(self, entry: str, fds: Sequence[int] = ()) -> None:
        ours, theirs = socket.socketpair()
        path = [one or str(Path.cwd()) for one in sys.path]
        command = [sys.executable, "-c", _ENTRY.format(path=path, entry=entry, fd=theirs.fileno())]
        with theirs:
            try:
                self._popen = subprocess.Popen(
                    command,
                    pass_fds=[theirs.fileno(), *fds],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    process_group=0,  # Ctrl-C in a terminal is for the owner, which ends this one
                )
            except OSError as error:
                ours.close()
                raise EngineError(f"a second process cannot be started ({error.strerror})") from error
        self._line: Connection[Any, Any] = Connection(ours.detach())

    @property
    def pid(self) -> int:
        """Of the process, also after it ended."""
        return self._popen.pid

    @property
    def fd(self) -> int:
        """Readable when it says something, and when it has ended."""
        return self._line.fileno()

    def send(self, message: dict[str, Any]) -> None:
        """Say something; a process that is gone hears nothing, and the next `receive` tells."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._line.send_bytes(json.dumps(message).encode())

    def receive(self, timeout_s: float) -> dict[str, Any]:
        """What the process says next.

        Raises:
            EngineError: it says what went wrong, or has ended, or says nothing within the time.
        """
        try:
            if not self._line.poll(timeout_s):
                raise EngineError(f"the second process did not answer within {timeout_s:.3g} s")
            message: dict[str, Any] = json.loads(self._line.recv_bytes())
        except (EOFError, ConnectionResetError):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(_PATIENCE_S)
            raise EngineError(f"the second process ended with exit code {self._popen.returncode}") from None
        if "failed" in message:
            raise EngineError(str(message["failed"]))
        return message

    def close(self) -> None:
        """Hang up, and end the process if that does not; returns within seconds."""
        self._line.close()
        try:
            self._popen.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            with contextlib.suppress(
                subprocess.TimeoutExpired
            ):  # it hangs in the driver: the system ends it, or nobody
                self._popen.wait(_PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def answer(entry: str, fd: int) -> None:
    """What the second process does: the function that `entry` names; what it raises is told over the line."""
    line = Line(fd)
    try:
        module, _, name = entry.partition(":")
        getattr(importlib.import_module(module), name)(line)
    except EOFError:
        pass  # the owner is gone, or wants no more
    except Exception as error:  # noqa: BLE001  # whatever it is, the owner must hear it: nobody sees the stderr
        told = " ".join(str(error).split()) or type(error).__name__
        with contextlib.suppress(OSError):
            line.send({"failed": told if isinstance(error, EngineError) else f"{type(error).__name__}: {told}"})
        os._exit(1)  # libraries of a device that failed are not asked to tidy up
