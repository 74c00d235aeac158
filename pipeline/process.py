"""One worker process as the supervisor sees it: started, watched, killed, replaced."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config import RestartOptions
from pipeline.lifeline import Lifeline
from pipeline.topology import WorkerPlan

__all__ = ["DEVICE_LOST", "WorkerProcess"]

DEVICE_LOST = 70
"""Exit code of a worker whose GPU failed for good: nothing more can be done in that process."""

_ENTRY = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "sys.path[:] = {path!r}; from pipeline.child import main; main({fd})"
)
"""Both signals belong to the supervisor, from the first moment on; workers obey control and their lifeline."""


@dataclass
class WorkerProcess:
    """One incarnation of one worker."""

    plan: WorkerPlan
    incarnation: int
    popen: "subprocess.Popen[bytes]"
    lifeline: Lifeline
    pidfd: int
    """Readable when the process has ended; -1 where the system has none."""
    last_beat: float
    endpoints: dict[str, str] = field(default_factory=dict)
    is_ready: bool = False
    is_listening: bool = False
    is_behind: bool = False
    """It took another's place and has not yet prepared the settings that hold."""
    busy_until: float = 0.0
    """Until then a silence is work: a stage is at a frame that takes long."""
    failure: dict[str, Any] | None = None
    """What the worker said before it died, if it could."""

    @classmethod
    def spawn(cls, plan: WorkerPlan, incarnation: int, job: dict[str, Any]) -> "WorkerProcess":
        """Start the process.

        The child is a fresh interpreter: nothing of this process's threads or libraries is forked.
        The job goes through the lifeline, so that no address with a password stands in a command line.
        """
        ours, theirs = Lifeline.pair()
        path = [entry or str(Path.cwd()) for entry in sys.path]
        command = [sys.executable, *_flags(), "-c", _ENTRY.format(path=path, fd=theirs.fd)]
        # A group of its own: Ctrl-C in a terminal is for the supervisor alone.
        popen = subprocess.Popen(command, pass_fds=[theirs.fd], stdin=subprocess.DEVNULL, process_group=0)
        theirs.close()
        ours.send(job)
        pidfd = os.pidfd_open(popen.pid) if hasattr(os, "pidfd_open") else -1
        return cls(plan, incarnation, popen, ours, pidfd, time.monotonic())

    @property
    def name(self) -> str:
        """The worker's name, the same for every incarnation."""
        return self.plan.name

    @property
    def token(self) -> int:
        """The owner's word in slots: tells incarnations apart."""
        return (self.plan.index + 1) << 16 | (self.incarnation & 0xFFFF)

    @property
    def route(self) -> dict[str, Any] | None:
        """How others reach it; None while it is not ready."""
        return {**self.endpoints, "token": self.token} if self.is_ready and self.is_alive else None

    @property
    def is_alive(self) -> bool:
        """False once the process has ended."""
        return self.popen.poll() is None

    def said(self, message: dict[str, Any]) -> bool:
        """Whether a message is this incarnation's."""
        return message.get("worker") == self.name and message.get("incarnation") == self.incarnation

    def is_silent(self, restart: RestartOptions) -> bool:
        """Whether it has said nothing for longer than work, or a start, may take."""
        now = time.monotonic()
        return now - self.last_beat > self.patience_s(restart) and now > self.busy_until

    def patience_s(self, restart: RestartOptions) -> float:
        """How long it may be silent."""
        return restart.beat_s * restart.missed_beats if self.is_ready else restart.open_timeout_s

    def kill(self) -> None:
        """End it at once."""
        if self.is_alive:
            self.popen.send_signal(signal.SIGKILL)
        self.popen.wait()

    def forget(self) -> None:
        """Give back what the supervisor holds of an ended process."""
        self.lifeline.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

    def ending(self) -> str:
        """How it ended, for people."""
        code = self.popen.poll()
        if code is None:
            return "still running"
        if self.failure is not None:
            told = f"{self.failure['error']}: {self.failure['why']}"
            return f"exit {code}, {told}" if code == DEVICE_LOST else told
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"exit {code}, it lost the GPU" if code == DEVICE_LOST else f"exit {code}"


def _flags() -> list[str]:
    # The parent's interpreter flags (warnings as errors in tests, -X options) hold for its workers too.
    return subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined, no-any-return]
