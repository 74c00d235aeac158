"""Starts the workers, watches them, replaces the dead, ends the run: one loop, one thread.

`STARTING -> RUNNING -> DRAINING -> STOPPED`. All workers are started at once: engines are compiled
while capture still opens its source, and the memory follows when the format is known.
"""

import time
from collections.abc import Callable
from enum import Enum
from typing import Any

from pipeline.building import Building
from pipeline.changes import Changes
from pipeline.crew import Crew
from pipeline.deaths import Death, Deaths
from pipeline.errors import StreamError, WorkerFailed
from pipeline.frame import StreamFormat
from pipeline.interrupts import Interrupts
from pipeline.link import Bell, ControlOut, StatusIn, Waiter, context, make_socket_folder, remove_socket_folder
from pipeline.process import DEVICE_LOST, WorkerProcess
from pipeline.recovery import Recovery
from pipeline.run import Run
from pipeline.slots import SlotPool
from pipeline.standby import Standby
from pipeline.timing import Ledger

__all__ = ["State", "Supervisor"]

_DRAIN_S = 1.0
"""After an interrupt, for frames in the corridor to be shown; then they are dropped."""
_STOP_S = 0.6
"""For workers to close their files and end; then they are killed."""
_PAUSED_S = 1.0
"""A turn of the loop that took longer was no turn: the machine or the whole run stood still."""
_LAST_WORDS_S = 0.3
"""For a failed worker's reason to arrive after its end."""
_CLOSE_S = 20.0
"""The same when nobody is in a hurry: an encoder may have seconds of work left."""


class State(Enum):
    """Where a run is."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPED = "stopped"


class Supervisor:
    """One run, from the first process to the last."""

    def __init__(self, run: Run, watch: Callable[["Supervisor"], None]) -> None:
        """`watch` is called about ten times a second, to display what goes on."""
        self.run_plan = run
        self.state = State.STARTING
        self.formats: dict[int, StreamFormat] = {}
        self.ledgers: dict[int, Ledger] = {}
        self.pools: dict[int, SlotPool] = {}
        self.restarts = 0
        self.reclaimed = 0
        self.was_interrupted = False
        self.engine_told: dict[str, str] = {}
        """`engine`, `backend` and `choice` (why this one) as the segment worker opened them."""
        self.batches: dict[str, dict[str, int]] = {}
        """Of each worker that takes several frames at once: how often how many, since its last restart."""
        self.events: list[dict[str, Any]] = []
        self.announcements: list[str] = []
        self.deaths = Deaths(run.config.restart, run.config.backend)
        self.building = Building(self.event, lambda engine, backend: self.changes.open_with(engine, backend))
        self._watch = watch
        self._began_ns = time.monotonic_ns()
        self._recovery: Recovery | None = None
        self._version = 0
        self._done: set[int] = set()
        self._failure: str | None = None
        self._sink_failure: str | None = None
        self._last_turn = time.monotonic()
        self._drain_until = float("inf")
        self._has_started = False

    def run(self) -> None:
        """Run to the end of the streams, or until interrupted.

        Raises:
            StreamError: a source, a sink or a worker failed for good; what was shown so far is kept.
        """
        self._folder = make_socket_folder()
        self._ctx = context()
        self._bell = Bell()
        self._interrupts = Interrupts(self._bell)
        self._control = ControlOut(self._ctx, self._folder)
        self._status = StatusIn(self._ctx, self._folder)
        self._waiter = Waiter([self._status, self._control, self._bell])
        places = (self._folder, self._status.endpoint, self._control.endpoint)
        self.crew = Crew(self.run_plan, self._waiter, *places)
        self.crew.without = self.deaths.without
        self.standby = Standby(self.run_plan.standby, self.crew, self.run_plan.config.restart, self.event)
        self.changes = Changes(self.run_plan.settings, self.run_plan.engines, self._control.send, self.event)
        with self._interrupts:
            try:
                for plan in self.run_plan.topology.workers:
                    self.crew.spawn(plan.name, self.changes.settings)
                while self.state is not State.STOPPED:
                    self._turn()
            finally:
                try:
                    self.building.end()
                    self._end_workers()
                finally:
                    remove_socket_folder(self._folder)
                    self._ctx.destroy(linger=0)
                    self._bell.close()
        failure = self._failure or self._sink_failure or self._nothing_shown()
        if failure is not None and not (self.was_interrupted and self._failure is None):
            raise StreamError(failure)

    @property
    def was_cut(self) -> bool:
        """True when the run ended with frames still in the corridor."""
        return self.was_interrupted or self._failure is not None

    def close(self) -> None:
        """Give the memory back; ledgers cannot be read afterwards."""
        for pool in self.pools.values():
            pool.close()
        for ledger in self.ledgers.values():
            ledger.close()

    def drain(self) -> None:
        """End the streams: no new frames, those in the corridor are still shown."""
        if self.state is State.RUNNING:
            self.state = State.DRAINING
            self._control.send({"type": "drain"})
        elif self.state is State.STARTING:
            self.state = State.STOPPED

    def change(self, **changes: Any) -> None:
        """Change settings at a frame boundary: workers prepare first, then capture stamps the new epoch."""
        self.changes.wish(**changes)

    # -- the loop

    def _turn(self) -> None:
        self._waiter.wait(0.1)
        self._bell.hush()
        gap_s = time.monotonic() - self._last_turn
        self._last_turn += gap_s
        if gap_s > _PAUSED_S:  # this process was stopped, so the workers' silence says nothing
            for worker in (*self.crew, *self.standby):
                worker.last_beat += gap_s
        if n_signals := self._interrupts.take():
            self._interrupted(n_signals)
        for heard in self._control.listeners():
            name, _, incarnation = heard.rpartition("#")
            listener = self.crew.find({"worker": name, "incarnation": int(incarnation)})
            if listener is None:
                self.standby.listening(heard)
            else:
                listener.is_listening = True
                self._is_up(listener)
        for message in self._status.take():
            self._hear(message)
        self._check_alive()
        self.standby.look_after()
        if self.state is State.STARTING:
            self._advance_start()
        self._advance_recovery()
        if self.state is State.RUNNING:
            self.building.turn()
            if self._recovery is None and all(worker.is_ready for worker in self.crew):
                self.standby.follow(self.changes.settings)
        if self.formats and len(self._done) == len(self.formats):
            self.state = State.STOPPED
        if time.monotonic() > self._drain_until:
            self.event("supervisor", "drain cut short", f"frames in the corridor took longer than {_DRAIN_S:g} s")
            self.state = State.STOPPED
        self._watch(self)

    def _hear(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        worker = self.crew.find(message)
        if worker is None:
            self.standby.hear(message)
            return
        worker.last_beat = time.monotonic()
        worker.busy_until = 0.0
        if kind == "format":
            self._take_format(message["stream"], StreamFormat.from_json(message["format"]))
        elif kind == "ready":
            worker.endpoints = {k: message[k] for k in ("frames", "credits") if k in message}
            self._is_up(worker)
        elif kind == "routed" and self._recovery is not None:
            self._recovery.routed(worker.name, message["version"])
        elif kind == "held" and self._recovery is not None:
            self._recovery.held(worker.name, message["census"], message["held"])
        elif kind == "working":
            worker.busy_until = time.monotonic() + self.run_plan.config.restart.work_timeout_s
        elif kind == "done":
            self._done.add(message["stream"])
        elif kind == "failed":
            worker.failure = message
        else:
            self._hear_news(worker, kind, message)

    def _hear_news(self, worker: WorkerProcess, kind: str, message: dict[str, Any]) -> None:
        """What concerns those who watch, not the workers."""
        if kind == "prepared":
            self.changes.answered(worker.name, message["epoch"], message["why"])
            self._caught_up(worker, message)
        elif kind == "serving":
            if (recovery := self.deaths.served(worker.name, message["at_ns"])) is not None:
                self.event(worker.name, "recovered", f"{recovery['ms']:g} ms after its death, by {recovery['by']}")
        elif kind == "engine":
            self.engine_told = {key: message[key] for key in ("engine", "backend", "choice")}
            self.building.want(message["plan"])
        elif kind == "beat":
            self.batches.update({worker.name: message["batches"]} if "batches" in message else {})
        elif kind == "event":
            self.event(worker.name, message["what"], message["why"])
            if "sink" in message:
                self._sink_failure = self._sink_failure or f"{message['sink']}: {message['why']}"
        elif kind == "failure":
            self._failure = message["why"]
            self.event(worker.name, "failed", message["why"])
        elif kind == "announce":
            self.announcements.append(message["line"])
        elif kind == "command":
            self._wish(message)

    def _is_up(self, worker: WorkerProcess) -> None:
        worker.is_ready = worker.is_listening and bool(worker.endpoints) and not worker.is_behind
        if worker.is_ready and self._has_started:
            self._publish_routes()

    def _wish(self, message: dict[str, Any]) -> None:
        if message.get("do") == "quit":
            self.drain()
        elif message.get("do"):
            self._control.send({"type": "order", "what": message["do"]})
        else:
            self.changes.follow(message)

    # -- the start

    def _advance_start(self) -> None:
        workers = list(self.crew)
        if all(w.is_ready for w in workers) and len(self.formats) == len(self.run_plan.config.streams):
            if not self._version:
                self._publish_routes()
            return
        limit_s = self.run_plan.config.restart.open_timeout_s
        if time.monotonic_ns() - self._began_ns > limit_s * 1e9:
            late = ", ".join(w.name for w in workers if not w.is_ready)
            self._fail(f"{late}: not ready within {limit_s:g} s; raise restart.open_timeout_s if the machine is slow")

    def _take_format(self, stream: int, format: StreamFormat) -> None:
        if stream in self.formats:
            return  # a restarted capture: the memory is there, and the format is fixed for the run
        self.formats[stream] = format
        if len(self.formats) == len(self.run_plan.config.streams):
            self.pools, self.ledgers = self.crew.share_memory(self.formats)

    # -- deaths

    def _check_alive(self) -> None:
        restart = self.run_plan.config.restart
        for worker in self.crew:
            if worker.is_alive:
                if not worker.is_silent(restart):
                    continue
                self.event(worker.name, "silent", f"no beat for {worker.patience_s(restart):g} s; killed")
                worker.kill()
            self._died(worker)

    def _died(self, worker: WorkerProcess) -> None:
        deadline = time.monotonic() + _LAST_WORDS_S
        while worker.failure is None and worker.popen.poll() in (1, DEVICE_LOST) and time.monotonic() < deadline:
            for message in self._status.take():  # what it died of may still be in the pipe
                self._hear(message)
            time.sleep(0.005)
        self.crew.bury(worker)
        if self.state is State.STOPPED:
            return
        failure = worker.failure
        if failure is not None and failure["expected"]:
            self._fail(failure["why"])
            return
        why = worker.ending()
        death = self.deaths.count(why, failure, worker.popen.poll(), has_started=self._has_started)
        if not death.may_restart:
            trace = f"\n{failure['traceback']}" if failure is not None and not death.remedy else ""
            self.event(worker.name, "failed", why)
            self._end_workers()
            self.state = State.STOPPED
            raise WorkerFailed(f"{worker.name}: {death.verdict}{trace}")
        self._replace(worker, death)

    def _replace(self, worker: WorkerProcess, death: Death) -> None:
        if death.given_up:
            self.event(worker.name, "backend given up", death.given_up)
            self.standby.end()  # it has that backend open
        self.restarts += 1
        self.changes.suspend()
        taken = self.standby.take(worker.name, self.changes.settings)
        self.deaths.followed(worker.name, "restart" if taken is None else "standby")
        self.event(worker.name, "restarted", death.told + ("" if taken is None else ", by its standby"))
        if taken is None:
            self.crew.spawn(worker.name, self.changes.settings)
        else:
            self.crew.adopt(taken.process)
            if taken.engine is not None:
                self._hear_news(taken.process, "engine", taken.engine)
        self._recovery = None
        if self._has_started:
            self._publish_routes()

    def _caught_up(self, worker: WorkerProcess, message: dict[str, Any]) -> None:
        """One that took another's place has prepared the settings that hold, or cannot."""
        if worker.is_behind and message["epoch"] == self.changes.settings.epoch:
            worker.is_behind = False
            if message["why"]:
                self.event(worker.name, "killed", f"cannot take over: {message['why']}")
                worker.kill()
            else:
                self._is_up(worker)

    def _publish_routes(self) -> None:
        """Tell everybody who can be reached; once all can, a census begins."""
        self._version += 1
        routes = self.crew.routes
        self._control.send({"type": "routes", "version": self._version, "to": routes})
        if all(route is not None for route in routes.values()):
            self._recovery = Recovery(self._version, self.crew.names)

    def _advance_recovery(self) -> None:
        if self._recovery is None:
            return
        census = self._recovery.advance(self.pools)
        if census is not None:
            self._control.send({"type": "census", "census": census})
        if self._recovery.is_done:
            slots = self._recovery.sweep(self.pools, self.crew.capture_tokens)
            self._recovery = None
            self._control.send({"type": "grant", "slots": slots})
            if self._has_started:
                self.reclaimed += len(slots)
                self.event("supervisor", "slots reclaimed", f"{len(slots)} of {self._n_slots()}")
            self._has_started = True
            self.changes.resume(self.crew.names)
            n_slots = {str(stream): pool.n_slots for stream, pool in self.pools.items()}
            self._control.send({"type": "go", "n_slots": n_slots})
            if self.state is State.STARTING:
                self.state = State.RUNNING
            elif self.state is State.DRAINING:
                self._control.send({"type": "drain"})

    def _n_slots(self) -> int:
        return sum(pool.n_slots for pool in self.pools.values())

    # -- the end

    def _nothing_shown(self) -> str | None:
        if self.restarts and not any(ledger.shown for ledger in self.ledgers.values()):
            return f"no frame was shown: {self.restarts} workers died; the events in --report say why"
        return None

    def _fail(self, why: str) -> None:
        self._failure = self._failure or why
        self.state = State.STOPPED

    def _interrupted(self, n_signals: int) -> None:
        again = self.was_interrupted or n_signals > 1
        self.was_interrupted = True
        if again or self.state is State.STARTING:
            self.state = State.STOPPED
            return
        self.drain()
        self._drain_until = min(self._drain_until, time.monotonic() + _DRAIN_S)

    def _end_workers(self) -> None:
        def listen() -> None:
            self._bell.hush()
            for message in self._status.take():
                self._hear(message)

        self.standby.end()
        self._control.send({"type": "stop"})
        if not self._has_started:
            timeout_s = 0.0  # nothing was shown, so there is nothing to save
        else:
            timeout_s = _STOP_S if self.was_interrupted else _CLOSE_S
        for name in self.crew.end(timeout_s, listen, lambda: self._interrupts.n_new > 0):
            if self._has_started:
                self.event(name, "killed", "did not end in time")

    def event(self, stage: str, what: str, why: str) -> None:
        """Note what happened, for the display and the report."""
        t_ms = round((time.monotonic_ns() - self._began_ns) * 1e-6, 1)
        self.events.append({"t_ms": t_ms, "stage": stage, "what": what, "why": why})
