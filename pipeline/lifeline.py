"""The socket pair between the supervisor and one worker: the job, the memory, and proof of life.

Descriptors travel here (ZeroMQ cannot carry them), so a worker can start, import and open its engine
while capture still opens the source, and gets the memory when its size is known. When the supervisor
dies, however it dies, the pair reads end-of-file.
"""

import json
import socket
from contextlib import suppress
from typing import Any

from pipeline.errors import WireError

__all__ = ["Lifeline"]

_MAX_BYTES = 1 << 20
_MAX_FDS = 64


class Lifeline:
    """One end of the pair. Messages keep their boundaries."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    @classmethod
    def pair(cls) -> tuple["Lifeline", "Lifeline"]:
        """(supervisor's end, worker's end)."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MAX_BYTES)
        return cls(ours), cls(theirs)

    @classmethod
    def inherited(cls, fd: int) -> "Lifeline":
        """The worker's end, from the descriptor it was started with."""
        return cls(socket.socket(fileno=fd))

    @property
    def fd(self) -> int:
        """To wait for."""
        return self._end.fileno()

    def send(self, message: dict[str, Any], fds: list[int] | None = None) -> None:
        """Send one message and, with it, descriptors."""
        part = json.dumps(message).encode()
        with suppress(BrokenPipeError, ConnectionResetError):  # the worker is dead; whoever watches it will say so
            socket.send_fds(self._end, [part], fds or [])

    def receive(self) -> tuple[dict[str, Any], list[int]] | None:
        """The next message and its descriptors; None when the other end is gone. Waits."""
        try:
            part, fds, _, _ = socket.recv_fds(self._end, _MAX_BYTES, _MAX_FDS)
        except ConnectionResetError:
            return None
        if not part:
            return None
        try:
            return json.loads(part), list(fds)
        except ValueError as error:
            raise WireError(f"lifeline: {len(part)} bytes that are not JSON") from error

    def close(self) -> None:
        """Let go."""
        self._end.close()
