"""What can go wrong around a stream.

StreamError                 base; the command line prints it as one line and exits with 1
├── SourceError
│   ├── SourceUnavailable   cannot be opened; `cause` says why (see `SourceCause`)
│   └── SourceLost          was open and is gone; capture reopens it with back-off
├── SinkError               a sink that cannot be opened or has failed; the others go on
├── WiringError             stages whose planes do not fit together, found before any process starts
├── WireError               a message of wrong size, version or shape
├── StaleTicket             a ticket of a slot that was reclaimed; dropped and counted
└── WorkerFailed            a worker that died; restarted within a budget
"""

from enum import StrEnum

__all__ = [
    "SinkError",
    "SourceCause",
    "SourceError",
    "SourceLost",
    "SourceUnavailable",
    "StaleTicket",
    "StreamError",
    "WireError",
    "WiringError",
    "WorkerFailed",
]


class SourceCause(StrEnum):
    """Why a source cannot be read; each calls for another remedy."""

    NOT_FOUND = "not found"
    BUSY = "busy"
    PERMISSION = "permission"
    REFUSED = "refused"
    AUTH = "auth"
    TIMED_OUT = "timed out"
    CODEC = "codec"
    TRUNCATED = "truncated"
    LOST = "lost"


class StreamError(Exception):
    """Base of what this package raises on purpose."""


class SourceError(StreamError):
    """A source that cannot be read; `cause` tells machines why, the message tells people."""

    def __init__(self, message: str, cause: SourceCause) -> None:
        super().__init__(message)
        self.cause = cause


class SourceUnavailable(SourceError):
    """The source could not be opened."""


class SourceLost(SourceError):
    """The source was open and gives no more frames, though it should."""


class SinkError(StreamError):
    """A sink that cannot be opened, or that failed while running."""


class WiringError(StreamError):
    """A chain of stages that cannot work: a plane is read that nobody wrote."""


class WireError(StreamError):
    """A message that is not one of ours."""


class StaleTicket(StreamError):
    """The slot was reclaimed since this ticket was written."""


class WorkerFailed(StreamError):
    """A worker process died more often than the restart budget allows, or could not start."""
