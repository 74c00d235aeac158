"""One worker: its start, its one loop, its end.

The loop takes tickets in, runs the worker's stages on them,
hands them on, and between frames obeys control, says that it lives, and answers the census. Who holds
which slot is decided in `pipeline/traffic.py`; this file decides when.
"""

import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.errors import DeviceLost, EngineError
from pipeline.config import RunConfig
from pipeline.epochs import Epochs
from pipeline.errors import StaleTicket
from pipeline.frame import Frame, StreamFormat, Ticket, TicketFlag
from pipeline.lifeline import Lifeline
from pipeline.link import Bell, ControlIn, StatusOut, Waiter, close_context, context, remove_socket_folder
from pipeline.settings import Settings
from pipeline.slots import SlotPool
from pipeline.stages import Stage, StageContext, open_stage
from pipeline.timing import DropCause, Ledger
from pipeline.traffic import Traffic

if TYPE_CHECKING:
    from engines.runtime.page_lock import PageLock
    from pipeline.on_device import OnDevice

__all__ = ["Worker"]

_IDLE_S = 0.1
"""How long the loop sleeps at most when nothing rings."""


class Worker:
    """The stages of one process and the loop around them."""

    def __init__(self, job: dict[str, Any], lifeline: Lifeline) -> None:
        self.job = job
        self.name: str = job["name"]
        self.index: int = job["index"]
        self.config = RunConfig.model_validate(job["config"])
        self.streams: tuple[int, ...] = tuple(job["streams"])
        self.live = job["pacing"] == "live"
        self.diary: list[str] = job["diary"]
        self._lifeline = lifeline
        self._folder = Path(job["folder"])
        self._ctx = context()
        self._status = StatusOut(self._ctx, job["status"])
        self._control = ControlIn(self._ctx, job["control"], f"{self.name}#{job['incarnation']}")
        self._bell = Bell()
        self._waiter = Waiter([self._control, self._bell, lifeline.fd])
        self._formats: dict[int, StreamFormat] = {}
        self._pools: dict[int, SlotPool] = {}
        self._ledgers: dict[int, Ledger] = {}
        self._next_beat = 0.0
        self._stopping = False
        self.stage_context = StageContext(
            streams=self.streams,
            pacing=job["pacing"],
            n_threads=job["n_threads"],
            backend=self.config.backend,
            options=job["options"],
            tell=self.say,
            wake=self._bell.ring,
            beat=self._beat,
            part=job["incarnation"] - 1,
            lock_memory=self._lock_memory,
            on_device=self._on_device(),
            work_timeout_s=self.config.restart.work_timeout_s,
        )
        self._page_lock: PageLock | None = None
        self._names = [name for name in job["stages"] if name != "capture"]
        self.stages: list[Stage] = []
        self._lines: list[tuple[int, int | None]] = []
        self._took_s: dict[int, float] = {}
        self._batches: Counter[int] = Counter()
        """How often so many frames were taken at once."""
        self._has_served = False
        self._epoch_beside: int | None = None
        """A standby has no frames that would make it follow the settings; it follows what was committed."""
        self._last = "render" in job["stages"]
        self.traffic: Traffic | None = None
        self.door: Any = None

    def run(self) -> None:
        """Start, work until told to stop, end."""
        if "capture" in self.job["stages"]:
            from pipeline.door import Door  # brings decoders in; only capture needs them

            self.door = Door(self.job, self.config, self.say, self._bell)
            self.door.open()
        self.stages = [open_stage(name, self.stage_context) for name in self._names]
        self._lines = [self._diary_lines(name, stage) for name, stage in zip(self._names, self.stages, strict=True)]
        self.epochs = Epochs(self.stages, Settings.from_json(self.job["settings"]), self._bell.ring)
        if not self._receive_memory():
            return
        assert self.traffic is not None
        try:
            self.epochs.begin(self._formats)
            self.say({"type": "ready", **self.traffic.endpoints()})
            while not self._stopping:
                self._turn()
        except DeviceLost:
            self.stage_context.is_device_lost = True
            self._page_lock = None  # nothing is given back to a GPU that is lost
            raise

    def close(self) -> None:
        """Give everything back; sinks and engines are closed first, and all of them, even after one that could not."""
        with ExitStack() as last_first:
            last_first.callback(close_context, self._ctx)
            for pool in self._pools.values():
                last_first.callback(pool.close)
            if self._page_lock is not None:
                last_first.callback(self._page_lock.release)
            for stage in reversed(self.stages):
                last_first.callback(stage.close)
            if self.door is not None:
                last_first.callback(self.door.close)

    # -- the loop

    def _turn(self) -> None:
        traffic = self._traffic()
        readable = self._waiter.wait(self._pause_s())
        self._bell.hush()
        if self._lifeline.fd in readable:
            received = self._lifeline.receive()
            if received is None:
                remove_socket_folder(self._folder)  # the supervisor is gone and cannot
                self._stopping = True
                return
            self._obey(received[0])
        self._beat()
        for message in self._control.take():
            self._obey(message)
        for answer in self.epochs.answers():
            self.say(answer)
        if self._epoch_beside is not None and self._use(self._epoch_beside):
            self._epoch_beside = None
        traffic.listen()
        for index in range(len(self.stages)):
            self._collect(index)
        if self.door is not None:
            self._let_in()
        if self._pause_s() <= 0.0:
            self._run_tickets(traffic.take(self._batch()))

    def _pause_s(self) -> float:
        """How long to sleep: not at all before work, a moment when a batch may still grow."""
        if not self._has_room():
            return _IDLE_S
        return min(_IDLE_S, self._traffic().patience_s(self._batch(), self.config.batch.wait_ms * 1e-3))

    def _batch(self) -> int:
        """Frames of different streams to work on at once."""
        return max((stage.batch for stage in self.stages), default=1)

    def _has_room(self) -> bool:
        return not self.stages or self._traffic().n_working < self.stages[-1].in_flight

    def _let_in(self) -> None:
        traffic = self._traffic()
        self.door.look_after()
        while self._has_room():
            ticket = self.door.admit(self._pools, self.epochs.layout, self.config.diary)
            if ticket is None:
                break
            traffic.begin(ticket)
            if self.stages:
                self._submit([ticket])
            else:
                traffic.hand_on(ticket)
                self._serves()
        for stream in self.door.over():
            self._end(stream)

    def _run_tickets(self, tickets: list[Ticket]) -> None:
        if tickets and tickets[0].flags & TicketFlag.END:
            self._end(tickets[0].stream)
        elif tickets:
            self._batches[len(tickets)] += 1
            self._submit(tickets)

    def _submit(self, tickets: list[Ticket]) -> None:
        """Have the first stage begin with these frames, all of one epoch."""
        self._epoch_beside = None
        if not self._use(tickets[0].epoch):
            for ticket in tickets:
                self._traffic().drop(ticket, DropCause.STALE)
            return
        self._enter(0, [self._frame(ticket) for ticket in tickets])

    def _use(self, epoch: int) -> bool:
        """Follow an epoch, after the frames on their way between the stages; False when it was never prepared here."""
        if self.epochs.is_new(epoch):
            for index, stage in enumerate(self.stages[:-1]):  # what the last one has keeps the settings that it came by
                stage.settle()
                self._collect(index)
        return self.epochs.use(epoch)

    def _frame(self, ticket: Ticket) -> Frame:
        pool = self._pools[ticket.stream]
        layout = self.epochs.layout(ticket.stream, ticket.epoch)
        slot = ticket.slot
        return Frame(ticket, lambda name: pool.view(slot, layout[name]), captured_ns=pool.captured_ns(slot))

    def _enter(self, index: int, frames: list[Frame]) -> None:
        entered, tail = self._lines[index]
        stage = self.stages[index]
        begin = time.monotonic()
        if self._took_s.get(index, 1.0) > self.config.restart.beat_s / 4:
            self.say({"type": "working"})  # no beat can come before it is done
        if not self.config.diary:
            stage.submit(frames)
        else:
            for frame in frames:
                self._pools[frame.ticket.stream].enter(frame.ticket.slot, entered, time.monotonic_ns())
            stage.submit(frames)
            if tail is not None:
                now_ns = time.monotonic_ns()
                for frame in frames:
                    pool = self._pools[frame.ticket.stream]
                    pool.leave(frame.ticket.slot, entered, now_ns)
                    pool.enter(frame.ticket.slot, tail, now_ns)
        self._took_s[index] = time.monotonic() - begin
        self._collect(index)

    def _collect(self, index: int) -> None:
        finished = list(self.stages[index].finished())
        for frame in finished:
            ticket = frame.ticket
            if self.config.diary:
                entered, tail = self._lines[index]
                line = entered if tail is None else tail
                self._pools[ticket.stream].leave(ticket.slot, line, frame.shown_ns or time.monotonic_ns())
            if index + 1 < len(self.stages):
                continue
            if self._last:
                self._account(frame)
            else:
                self._traffic().hand_on(ticket)
        if finished and index + 1 < len(self.stages):
            self._enter(index + 1, finished)
        elif finished:
            self._serves()

    def _serves(self) -> None:
        """The first frame has left this worker: whoever waits for a recovery wants to know."""
        if not self._has_served:
            self._has_served = True
            self.say({"type": "serving", "at_ns": time.monotonic_ns()})

    def _account(self, frame: Frame) -> None:
        ticket, ledger = frame.ticket, self._ledgers[frame.ticket.stream]
        if not frame.shown_ns:
            self._traffic().drop(ticket, DropCause.SINK)
            return
        pool = self._pools[ticket.stream]
        try:
            pool.check(ticket)
        except StaleTicket:
            self._traffic().drop(ticket, DropCause.STALE)
            return
        ledger.latency.record(frame.shown_ns - frame.captured_ns)
        if self.config.diary:
            ledger.record_diary(frame.captured_ns, pool.diary(ticket.slot, len(self.diary)))
        ledger.count_shown(ticket.sequence, frame.shown_ns)
        self._traffic().release(ticket)

    def _end(self, stream: int) -> None:
        ended = [stage.end(stream) for stage in self.stages]  # all of them, even after one that could not
        if self._last:
            self.say({"type": "done", "stream": stream, "whole": all(ended)})
        else:
            self._traffic().hand_on_end(stream)

    # -- the supervisor's word

    def _obey(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        traffic = self._traffic()
        if kind == "stop":
            self._say_beat()
            self._stopping = True
        elif kind == "routes":
            traffic.reroute(message["to"])
            self.say({"type": "routed", "version": message["version"]})
            if self.door is not None:
                self.door.say_end_again()
        elif kind == "census":
            traffic.listen()
            held = traffic.held() + (self.door.held() if self.door is not None else [])
            self.say({"type": "held", "census": message["census"], "held": held})
        elif kind == "prepare":
            self.epochs.prepare_beside(Settings.from_json(message["settings"]))
        elif kind == "epoch" and self.job.get("standby") and not self._has_served:
            self._epoch_beside = message["epoch"]
        elif kind == "order":
            for stage in self.stages:
                stage.order(message["what"])
        elif self.door is not None:
            self.door.obey(message)

    def _beat(self) -> None:
        now = time.monotonic()
        if now >= self._next_beat:
            self._next_beat = now + self.config.restart.beat_s / 2
            self._say_beat()

    def _say_beat(self) -> None:
        is_told = any(size > 1 for size in self._batches)  # one frame at a time goes without saying
        self.say({"type": "beat", "batches": dict(self._batches)} if is_told else {"type": "beat"})

    # -- the start

    def _receive_memory(self) -> bool:
        while True:
            received = self._lifeline.receive()
            if received is None:
                remove_socket_folder(self._folder)
                return False
            message, fds = received
            if message["type"] == "memory":
                break
        for position, entry in enumerate(message["streams"]):
            stream = entry["stream"]
            self._formats[stream] = StreamFormat.from_json(entry["format"])
            pool = SlotPool.attach(fds[2 * position], entry["n_slots"], entry["plane_bytes"])
            self._pools[stream] = pool
            self._ledgers[stream] = Ledger.attach(fds[2 * position + 1], tuple(self.diary))
        self.stage_context.ledgers.update(self._ledgers)
        inlet_name = f"{self.index}-{self.job['incarnation']}"
        self.traffic = Traffic(
            self._ctx,
            self._folder,
            inlet_name,
            worker=self.index,
            live=self.live,
            pools=self._pools,
            ledgers=self._ledgers,
            next_of={int(s): n for s, n in self.job["next"].items()},
            home_of={int(s): n for s, n in self.job["home"].items()},
            waiter=self._waiter,
            has_door=self.door is not None,
            is_last=self._last,
        )
        if self.door is not None:
            self.door.begin(self._ledgers, self.traffic)
        return True

    def _on_device(self) -> "OnDevice | None":
        if not {"preprocess", "segment", "render"} <= set(self.job["stages"]):
            return None
        from pipeline.on_device import on_device_of  # brings the painters in; a worker of one stage has no use for it

        return on_device_of(self.job["stages"], self.streams, self._bell.ring, self.say)

    def _lock_memory(self) -> None:
        """Best effort, once in a process: what is refused is told, and copies take their usual way."""
        if self._page_lock is not None:
            return
        from engines.runtime.page_lock import PageLock  # only a worker with an engine on a GPU needs it

        self._page_lock = PageLock()
        try:
            self._page_lock.lock(pool.region.span for pool in self._pools.values())
        except EngineError as error:
            self.say({"type": "event", "what": "slots not page-locked", "why": str(error)})

    def _diary_lines(self, name: str, stage: Stage) -> tuple[int, int | None]:
        line = name.rpartition(":")[2].lower()
        return self.diary.index(line), self.diary.index(stage.tail) if stage.tail else None

    def _traffic(self) -> Traffic:
        assert self.traffic is not None, "traffic begins when the memory is here"
        return self.traffic

    def say(self, message: dict[str, Any]) -> None:
        """Tell the supervisor something; from the main thread only."""
        self._status.send({"worker": self.name, "incarnation": self.job["incarnation"], **message})
