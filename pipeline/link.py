"""Everything ZeroMQ: tickets between neighbours, control to all, status to the supervisor.

The one file that knows sockets' options: no linger, bounded queues, bounded messages. One message is
one part; tickets are fixed structs, control and status are small JSON objects; nothing is ever pickled.
An `Inlet` binds a fresh endpoint per incarnation, so what a dead worker left unread dies with it.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import zmq

from pipeline.errors import WireError
from pipeline.frame import Ticket

__all__ = [
    "Bell",
    "ControlIn",
    "ControlOut",
    "Inlet",
    "Outlet",
    "StatusIn",
    "StatusOut",
    "Waiter",
    "close_context",
    "context",
    "make_socket_folder",
    "remove_socket_folder",
]

_MAX_TICKET_BYTES = 64
_MAX_JSON_BYTES = 1 << 20
_QUEUE = 1024
_PREFIX = "segstream-"


def context() -> "zmq.Context[zmq.Socket[bytes]]":
    """This process's own context; never shared over a fork."""
    made = zmq.Context()
    made.setsockopt(zmq.LINGER, 0)
    return made


def close_context(ctx: "zmq.Context[zmq.Socket[bytes]]") -> None:
    """Close every link of this process, but give what was said half a second to arrive."""
    ctx.destroy(linger=500)


def make_socket_folder() -> Path:
    """A folder that only this user can enter, for this run's endpoints; folders of dead runs are swept."""
    parent = Path(tempfile.gettempdir())
    if len(str(parent)) > 60:  # a Unix socket's path has 107 bytes
        parent = Path("/tmp")
    for old in parent.glob(f"{_PREFIX}*-*"):
        pid = old.name.removeprefix(_PREFIX).split("-")[0]
        if pid.isdigit() and not _is_alive(int(pid)):
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))


def remove_socket_folder(folder: Path) -> None:
    """Remove the endpoints; safe to call twice and from several processes."""
    shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _socket(ctx: "zmq.Context[zmq.Socket[bytes]]", kind: int, max_bytes: int) -> "zmq.Socket[bytes]":
    socket = ctx.socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, _QUEUE)
    socket.setsockopt(zmq.RCVHWM, _QUEUE)
    socket.setsockopt(zmq.MAXMSGSIZE, max_bytes)
    return socket


class _Socket:
    def __init__(self, socket: "zmq.Socket[bytes]") -> None:
        self.socket = socket

    def close(self) -> None:
        """Close at once; what was not sent is lost, and the slots it named are reclaimed."""
        self.socket.close(linger=0)

    def _parts(self) -> list[bytes]:
        parts: list[bytes] = []
        try:
            while True:
                parts.append(self.socket.recv(zmq.NOBLOCK))
        except zmq.Again:
            return parts


class Inlet(_Socket):
    """Where a worker's tickets (or capture's credits) arrive, in order."""

    def __init__(self, ctx: "zmq.Context[zmq.Socket[bytes]]", folder: Path, name: str) -> None:
        super().__init__(_socket(ctx, zmq.PULL, _MAX_TICKET_BYTES))
        self.endpoint = f"ipc://{folder}/{name}"
        self.socket.bind(self.endpoint)

    def take(self) -> list[Ticket]:
        """Every ticket that has arrived, oldest first; does not wait.

        Raises:
            WireError: something else than a ticket came in.
        """
        return [Ticket.from_bytes(part) for part in self._parts()]


class Outlet(_Socket):
    """Tickets to one neighbour's inlet."""

    def __init__(self, ctx: "zmq.Context[zmq.Socket[bytes]]", endpoint: str) -> None:
        super().__init__(_socket(ctx, zmq.PUSH, _MAX_TICKET_BYTES))
        self.endpoint = endpoint
        self.socket.connect(endpoint)

    def send(self, ticket: Ticket) -> None:
        """Queue a ticket; never blocks, since there are fewer tickets than the queue is long."""
        self.socket.send(ticket.to_bytes(), zmq.NOBLOCK)


class ControlOut(_Socket):
    """The supervisor's word to all workers. An XPUB: it sees who listens before it speaks."""

    def __init__(self, ctx: "zmq.Context[zmq.Socket[bytes]]", folder: Path) -> None:
        super().__init__(_socket(ctx, zmq.XPUB, _MAX_JSON_BYTES))
        self.endpoint = f"ipc://{folder}/control"
        self.socket.bind(self.endpoint)

    def send(self, message: dict[str, Any]) -> None:
        """Publish to every worker that listens."""
        self.socket.send(b"*" + json.dumps(message).encode(), zmq.NOBLOCK)

    def listeners(self) -> list[str]:
        """Names of the workers that began to listen since the last call."""
        return [part[2:].decode() for part in self._parts() if part[:2] == b"\x01~"]


class ControlIn(_Socket):
    """A worker's ear."""

    def __init__(self, ctx: "zmq.Context[zmq.Socket[bytes]]", endpoint: str, name: str) -> None:
        super().__init__(_socket(ctx, zmq.SUB, _MAX_JSON_BYTES))
        self.socket.connect(endpoint)
        self.socket.setsockopt(zmq.SUBSCRIBE, b"*")
        self.socket.setsockopt(zmq.SUBSCRIBE, b"~" + name.encode())  # sent second: whoever sees it knows of both

    def take(self) -> list[dict[str, Any]]:
        """Every message that has arrived, oldest first; does not wait."""
        return [_object(part[1:]) for part in self._parts()]


class StatusOut(_Socket):
    """A worker's word to the supervisor."""

    def __init__(self, ctx: "zmq.Context[zmq.Socket[bytes]]", endpoint: str) -> None:
        super().__init__(_socket(ctx, zmq.PUSH, _MAX_JSON_BYTES))
        self.socket.connect(endpoint)

    def send(self, message: dict[str, Any]) -> None:
        """Queue a message; dropped when nobody has read the last thousand."""
        with suppress(zmq.Again):  # the supervisor is gone or stuck; the lifeline tells which
            self.socket.send(json.dumps(message).encode(), zmq.NOBLOCK)


class StatusIn(_Socket):
    """The supervisor's ear."""

    def __init__(self, ctx: "zmq.Context[zmq.Socket[bytes]]", folder: Path) -> None:
        super().__init__(_socket(ctx, zmq.PULL, _MAX_JSON_BYTES))
        self.endpoint = f"ipc://{folder}/status"
        self.socket.bind(self.endpoint)

    def take(self) -> list[dict[str, Any]]:
        """Every message that has arrived, oldest first; does not wait."""
        return [_object(part) for part in self._parts()]


class Bell:
    """Lets a thread wake a `Waiter`; ringing twice wakes once."""

    def __init__(self) -> None:
        self.fd, self._ring = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._ring, False)

    def ring(self) -> None:
        """Wake the waiter, from any thread."""
        with suppress(OSError):  # a full pipe has been rung; a closed one has nobody to wake
            os.write(self._ring, b"!")

    def hush(self) -> None:
        """Forget the rings so far."""
        with suppress(BlockingIOError):
            while os.read(self.fd, 4096):
                pass

    def close(self) -> None:
        """Give the descriptors back."""
        for fd in (self.fd, self._ring):
            os.close(fd)


class Waiter:
    """Waits until something can be read from one of several links, bells or descriptors."""

    def __init__(self, watched: Sequence[_Socket | Bell | int] = ()) -> None:
        self._poller = zmq.Poller()
        for one in watched:
            self.watch(one)

    def watch(self, one: _Socket | Bell | int) -> None:
        """Wait for this one too."""
        self._poller.register(_pollable(one), zmq.POLLIN)

    def forget(self, one: _Socket | Bell | int) -> None:
        """Wait for this one no longer."""
        self._poller.unregister(_pollable(one))

    def wait(self, timeout_s: float) -> set[int]:
        """Sleep until something is there or the time is up; the descriptors (not the links) that are readable."""
        ready = self._poller.poll(max(0, round(timeout_s * 1000)))
        return {one for one, _ in ready if isinstance(one, int)}


def _pollable(one: _Socket | Bell | int) -> Any:
    if isinstance(one, _Socket):
        return one.socket
    return one.fd if isinstance(one, Bell) else one


def _object(part: bytes) -> dict[str, Any]:
    try:
        message = json.loads(part)
    except ValueError as error:
        raise WireError(f"message of {len(part)} bytes is not JSON") from error
    if not isinstance(message, dict):
        raise WireError(f"message is a {type(message).__name__}, expected an object")
    return message
