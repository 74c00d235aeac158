"""One warm replacement for the worker that runs the engine: started, its engine open, waiting without routes.

It hears everything that is published, so it prepares every change of settings like the others; what was said before it
could hear is sent to it alone, over its lifeline. It answers no census and nobody sends to it, since no route names it.
The trap: it is taken only with the settings that hold; until it has them it counts as not ready.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.config import RestartOptions
from pipeline.crew import Crew
from pipeline.process import WorkerProcess
from pipeline.settings import Settings
from pipeline.topology import WorkerPlan

__all__ = ["Standby", "Taken"]

MOST_FAILURES = 3
"""Within `restart.window_s`; a standby that cannot live must not keep the machine busy."""


@dataclass(frozen=True)
class Taken:
    """What takes the place of a dead worker."""

    process: WorkerProcess
    engine: dict[str, Any] | None
    """Its latest word on its engine, if it has said any."""


class Standby:
    """At most one process beside the crew."""

    def __init__(
        self, plan: WorkerPlan | None, crew: Crew, restart: RestartOptions, note: Callable[[str, str, str], None]
    ) -> None:
        """`plan` is the worker to be replaced, None for no standby; `note(stage, what, why)` keeps an event."""
        self._plan = plan
        self._crew = crew
        self._restart = restart
        self._note = note
        self._process: WorkerProcess | None = None
        self._known: set[int] = set()
        """Epochs that it has prepared."""
        self._sent = -1
        """The latest epoch that it was told of by itself."""
        self._told: dict[str, Any] | None = None
        """Its latest word on its engine."""
        self._failures: deque[float] = deque()

    def __iter__(self) -> Iterator[WorkerProcess]:
        return iter(() if self._process is None else (self._process,))

    def follow(self, settings: Settings) -> None:
        """Start one if there is none, look after the one there is, and have it know the settings that hold."""
        if self._plan is None:
            return
        if self._process is None:
            try:
                self._process = self._crew.start(self._plan.name, settings, is_standby=True)
            except OSError as error:  # no more processes, no more files: the stream goes on without
                self._count_failure(self._plan.name, f"it cannot be started: {error.strerror or error}")
                return
            self._known, self._sent, self._told = {settings.epoch}, settings.epoch, None
            return
        if self._process.is_silent(self._restart):
            self._failed(self._process, "it said nothing; killed")
        elif self._process.is_listening and settings.epoch not in self._known and self._sent != settings.epoch:
            self._tell(self._process, settings)

    def look_after(self) -> None:
        """Bury it when it has died; called every turn, since a dead process that is watched keeps the caller awake."""
        if self._process is not None and not self._process.is_alive:
            self._failed(self._process, self._process.ending())

    def hear(self, message: dict[str, Any]) -> None:
        """What somebody said who is not of the crew: the standby, or one that was replaced."""
        process = self._process
        if process is None or not process.said(message):
            return
        process.last_beat = time.monotonic()
        process.busy_until = 0.0
        kind = message["type"]
        if kind == "ready":
            process.endpoints = {k: message[k] for k in ("frames", "credits") if k in message}
            self._is_up(process)
        elif kind == "prepared" and not message["why"]:
            self._known.add(message["epoch"])
        elif kind == "prepared" and message["epoch"] == self._sent:  # it was asked alone, and nobody asks again
            self._failed(process, f"it cannot prepare what holds: {message['why']}")
        elif kind == "engine":
            self._told = message
        elif kind == "failed":
            process.failure = message

    def listening(self, name: str) -> None:
        """Somebody began to hear; perhaps the standby, as `NAME#INCARNATION`."""
        process = self._process
        if process is not None and name == f"{process.name}#{process.incarnation}":
            process.is_listening = True
            self._is_up(process)

    def take(self, name: str, settings: Settings) -> Taken | None:
        """The process that takes the place of a dead worker, and what it says of its engine; None when there is none.

        It may still be starting; it is behind until it knows these settings.
        """
        process = self._process
        if process is None or process.name != name:
            return None
        if not process.is_alive:  # whatever killed the worker may have killed it too
            self._failed(process, process.ending())
            return None
        self._process = None
        process.is_behind = settings.epoch not in self._known
        process.is_ready = process.is_ready and not process.is_behind
        if process.is_behind and self._sent != settings.epoch:
            self._tell(process, settings)
        return Taken(process, self._told)

    def end(self) -> None:
        """Kill it: it has nothing that could be lost. The next `follow` starts another."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            self._crew.bury(process)

    def _is_up(self, process: WorkerProcess) -> None:
        if process.is_listening and process.endpoints and not process.is_ready:
            process.is_ready = True
            self._note(process.name, "standby", f"ready, process {process.popen.pid}")

    def _tell(self, process: WorkerProcess, settings: Settings) -> None:
        self._sent = settings.epoch
        process.lifeline.send({"type": "prepare", "settings": settings.to_json()})
        process.lifeline.send({"type": "epoch", "epoch": settings.epoch})

    def _failed(self, process: WorkerProcess, why: str) -> None:
        self.end()
        self._count_failure(process.name, why)

    def _count_failure(self, name: str, why: str) -> None:
        now = time.monotonic()
        self._failures.append(now)
        while now - self._failures[0] > self._restart.window_s:
            self._failures.popleft()
        if len(self._failures) >= MOST_FAILURES:
            self._plan = None
            why += f"; no other is started after {MOST_FAILURES} in {self._restart.window_s:g} s"
        self._note(name, "standby failed", why)
