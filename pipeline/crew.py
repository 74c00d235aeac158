"""The worker processes of a run: spawned, given their memory, told apart, ended."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from engines.names import resolve
from pipeline.frame import StreamFormat
from pipeline.layout import planes_of
from pipeline.link import Waiter
from pipeline.memory import Region
from pipeline.process import WorkerProcess
from pipeline.run import Run
from pipeline.settings import Settings
from pipeline.slots import SlotPool, capacities
from pipeline.timing import Ledger

__all__ = ["Crew"]


class Crew:
    """One process for each worker of the topology, the latest incarnation of each."""

    def __init__(self, run: Run, waiter: Waiter, folder: Path, status: str, control: str) -> None:
        self._run = run
        self._waiter = waiter
        self._places = {"folder": str(folder), "status": status, "control": control}
        self.without: dict[str, str] = {}
        """Backends that workers started from now on leave out, each with the reason."""
        self._workers: dict[str, WorkerProcess] = {}
        self._incarnations: dict[str, int] = {}
        self._memory: dict[int, tuple[dict[str, Any], Region, Region]] = {}

    def __iter__(self) -> Iterator[WorkerProcess]:
        return iter(list(self._workers.values()))

    def __getitem__(self, name: str) -> WorkerProcess:
        return self._workers[name]

    def find(self, message: dict[str, Any]) -> WorkerProcess | None:
        """Who said this; None for the last words of one that was replaced."""
        worker = self._workers.get(message.get("worker", ""))
        return worker if worker is not None and worker.said(message) else None

    @property
    def names(self) -> frozenset[str]:
        """Of all workers."""
        return frozenset(self._workers)

    @property
    def routes(self) -> dict[str, Any]:
        """How each is reached; None for those that cannot be."""
        return {worker.name: worker.route for worker in self}

    @property
    def capture_tokens(self) -> dict[int, int]:
        """For each stream the owner's word of the worker that captures it."""
        doors = [worker for worker in self if "capture" in worker.plan.stages]
        return {stream: worker.token for worker in doors for stream in worker.plan.streams}

    def spawn(self, name: str, settings: Settings) -> None:
        """Start a worker, or its next incarnation, as one of the crew."""
        self.adopt(self.start(name, settings))

    def start(self, name: str, settings: Settings, *, is_standby: bool = False) -> WorkerProcess:
        """Start the next incarnation of a worker; it gets the memory when there is some, and is not yet of the crew."""
        plan = next(p for p in self._run.topology.workers if p.name == name)
        incarnation = self._incarnations[name] = self._incarnations.get(name, 0) + 1
        job = self._run.job(plan, incarnation, settings=settings, **self._places)
        job["options"]["without"] = dict(self.without)
        worker = WorkerProcess.spawn(plan, incarnation, {**job, "standby": is_standby})
        if worker.pidfd >= 0:
            self._waiter.watch(worker.pidfd)
        if self._memory:
            self._send_memory(worker)
        return worker

    def adopt(self, worker: WorkerProcess) -> None:
        """Make it one of the crew, in the place of the one before."""
        self._workers[worker.name] = worker

    def share_memory(self, formats: Mapping[int, StreamFormat]) -> tuple[dict[int, SlotPool], dict[int, Ledger]]:
        """Make slots and a ledger for each stream, and give everybody those of its streams; the caller closes them."""
        run, pools, ledgers = self._run, {}, {}
        for stream, known in sorted(formats.items()):
            layouts = [planes_of(known, resolve(engine)) for engine in run.engines]
            n_slots = run.config.slots or run.topology.slots(len(run.sinks[stream]))
            pool = pools[stream] = SlotPool.create(n_slots, capacities(layouts))
            ledger = ledgers[stream] = Ledger.create(run.topology.diary)
            told = {"format": known.to_json(), "n_slots": pool.n_slots, "plane_bytes": pool.plane_bytes}
            self._memory[stream] = told, pool.region, ledger.region
        for worker in self:
            self._send_memory(worker)
        return pools, ledgers

    def bury(self, worker: WorkerProcess) -> None:
        """Give back what is held of an ended process."""
        if worker.pidfd >= 0:
            self._waiter.forget(worker.pidfd)
        worker.forget()

    def end(self, timeout_s: float, listen: Callable[[], None], in_a_hurry: Callable[[], bool]) -> list[str]:
        """Wait for all to end, then kill; the names of those that had to be killed.

        Args:
            timeout_s: for workers to close their files; 0 kills at once.
            listen: called while waiting, to hear what is still said.
            in_a_hurry: ends the waiting early.
        """
        for worker in self:
            if not worker.is_ready:
                worker.kill()  # it has shown nothing yet, and may not hear
        deadline = time.monotonic() + timeout_s
        while any(worker.is_alive for worker in self) and time.monotonic() < deadline and not in_a_hurry():
            self._waiter.wait(0.02)
            listen()
        late = [worker.name for worker in self if worker.is_alive]
        for worker in self:
            worker.kill()
            self.bury(worker)
        self._workers.clear()
        return late

    def _send_memory(self, worker: WorkerProcess) -> None:
        streams, fds = [], []
        for number in worker.plan.streams:
            told, slots, ledger = self._memory[number]
            streams.append({"stream": number, **told})
            fds += [slots.fd, ledger.fd]
        worker.lifeline.send({"type": "memory", "streams": streams}, fds)
