"""The worker processes of a run: spawned, given their memory, told apart, ended."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.link import Waiter
from pipeline.memory import Region
from pipeline.process import WorkerProcess
from pipeline.run import Run
from pipeline.settings import Settings

__all__ = ["Crew"]


class Crew:
    """One process for each worker of the topology, the latest incarnation of each."""

    def __init__(self, run: Run, waiter: Waiter, folder: Path, status: str, control: str) -> None:
        self._run = run
        self._waiter = waiter
        self._places = {"folder": str(folder), "status": status, "control": control}
        self._workers: dict[str, WorkerProcess] = {}
        self._memory: dict[int, tuple[dict[str, Any], Region, Region]] = {}

    def __iter__(self) -> Iterator[WorkerProcess]:
        return iter(list(self._workers.values()))

    def __getitem__(self, name: str) -> WorkerProcess:
        return self._workers[name]

    def find(self, message: dict[str, Any]) -> WorkerProcess | None:
        """Who said this; None for the last words of one that was replaced."""
        worker = self._workers.get(message.get("worker", ""))
        return worker if worker is not None and message.get("incarnation") == worker.incarnation else None

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

    def spawn(self, name: str, incarnation: int, settings: Settings) -> None:
        """Start a worker, or its next incarnation; it gets the memory when there is some."""
        plan = next(p for p in self._run.topology.workers if p.name == name)
        job = self._run.job(plan, incarnation, settings=settings, **self._places)
        worker = WorkerProcess.spawn(plan, incarnation, job)
        self._workers[name] = worker
        if worker.pidfd >= 0:
            self._waiter.watch(worker.pidfd)
        if self._memory:
            self._send_memory(worker)

    def share_memory(self, memory: dict[int, tuple[dict[str, Any], Region, Region]]) -> None:
        """Give everybody the streams' slots and ledgers: (what to know of it, slots, ledger) for each stream."""
        self._memory = memory
        for worker in self:
            self._send_memory(worker)

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
