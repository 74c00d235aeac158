"""What a frame's way from one process to the next costs: through page-locked slots, and by CUDA IPC where it works.

Two real processes. A hop begins when the frame lies in the first one's device memory, and ends when it lies in the
second one's own, where an engine with fixed addresses wants it: down, ticket, up; or a copy into the memory that both
have, a mark, the ticket, a copy out of it. Both ways and the ticket alone take turns within one run. On a CPU the frame
goes through the slots unlocked, and nothing is timed. The trap: the clocks of two processes are compared, which is good
on one machine alone.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch

from engines.errors import EngineError
from engines.runtime.device import Device, DeviceBuffer
from engines.runtime.device_sharing import SharedMark, SharingDevice
from engines.runtime.second_process import SecondProcess
from engines.runtime.sharing_probe import sharing_reason
from pipeline.frame import Ticket
from pipeline.link import Inlet, Outlet, Waiter, close_context, context, make_socket_folder, remove_socket_folder
from pipeline.memory import Region
from tests.gpu.hop_peer import N_PATTERNS, Way, device_of_hops, locked, patterns, take_frames
from tests.gpu.rows import Row

__all__ = ["GOAL_MS", "hop_rows"]

GOAL_MS = 0.2
"""A hop of a 1080p frame by CUDA IPC; issue 5."""
WARM_UP, REPEATS = 20, 200
PATIENCE_S = 60.0
"""For the second process: to be there, and to take a frame."""


@dataclass(frozen=True)
class Hops:
    """What was seen of one way."""

    ms: Sequence[float]
    wrong_bytes: int
    """In all frames together."""

    @property
    def p50(self) -> float:
        """Median, ms."""
        return statistics.median(self.ms)

    @property
    def p95(self) -> float:
        """95th percentile, ms."""
        return sorted(self.ms)[min(len(self.ms) - 1, int(0.95 * len(self.ms)))]


def hop_rows(device: torch.device, is_quick: bool) -> Iterator[Row]:
    """A frame and an engine's tensor, each through the slots and by CUDA IPC."""
    is_gpu = device.type == "cuda"
    reason = sharing_reason() if is_gpu else "needs a GPU, and two processes that work on it"
    kind = "host" if not is_gpu else "shared" if reason is None else "own"
    sizes = ((192, 112), (64, 36)) if is_quick else ((1920, 1080), (512, 288))
    n_hops = (1, 2) if is_quick else (WARM_UP, REPEATS)
    for (width, height), goal_ms in zip(sizes, (GOAL_MS, None), strict=True):
        yield from rows_of(width, height, kind, reason, n_hops, goal_ms)


def rows_of(
    width: int, height: int, kind: str, reason: str | None, n_hops: tuple[int, int], goal_ms: float | None
) -> Iterator[Row]:
    """Two rows, through the slots and by CUDA IPC.

    Args:
        width: of a frame of three bytes a pixel.
        height: of it.
        kind: of the device, see `device_of_hops`; with `host` nothing is timed.
        reason: why there is no CUDA IPC; None where there is.
        n_hops: of each way, to warm up and to be timed.
        goal_ms: by CUDA IPC.
    """
    n_bytes, is_timed = width * height * 3, kind != "host"
    work = f"hop of {width}x{height}x3"
    slots, shared = f"{work}, {'page-locked ' if is_timed else ''}slots", f"{work}, CUDA IPC"
    facts: dict[str, Any] = {"bytes": n_bytes, "probe": "passed" if reason is None else reason}
    try:
        seen, not_locked = hops(n_bytes, kind, n_hops)
    except EngineError as error:
        for name in (slots, shared):
            yield Row(name, "-", 0.0, 0.0, "", refused=" ".join(str(error).split()), facts=facts)
        return
    if is_timed:
        facts["ticket_ms"] = seen[Way.TICKET].p50
    if not_locked is None:
        yield _row(slots, seen[Way.SLOTS], None, facts, is_timed=is_timed)
    else:
        yield Row(slots, "-", 0.0, 0.0, "", refused=not_locked, facts=facts)
    if reason is not None:
        yield Row(shared, "-", 0.0, 0.0, "", refused=reason, facts=facts)
        return
    if is_timed and not_locked is None:
        facts = {**facts, "slots_ms": seen[Way.SLOTS].p50, "of_slots": seen[Way.SHARED].p50 / seen[Way.SLOTS].p50}
    yield _row(shared, seen[Way.SHARED], goal_ms, facts, is_timed=is_timed)


def _row(work: str, seen: Hops, goal_ms: float | None, facts: dict[str, Any], *, is_timed: bool) -> Row:
    p50, p95 = (seen.p50, seen.p95) if is_timed else (None, None)
    return Row(work, "the bytes", float(seen.wrong_bytes), 0.0, "bytes", p50, p95, None, goal_ms, facts)


def hops(n_bytes: int, kind: str, n_hops: tuple[int, int]) -> tuple[dict[Way, Hops], str | None]:
    """Hops by all ways in turns; and why the slots could not be page-locked, None when they were.

    Raises:
        EngineError: the second process failed, or a device did.
    """
    with ExitStack() as stack:
        region = stack.enter_context(Region.create(-(-n_bytes // 4096) * 4096, "hop"))
        device = device_of_hops(kind)
        stack.callback(device.close)
        not_locked = locked(device, region)
        if not_locked is None:
            stack.callback(device.unlock, region.span[0])
        sender = _Sender(device, region, n_bytes)
        stack.callback(sender.close)
        folder = make_socket_folder()
        stack.callback(remove_socket_folder, folder)
        zmq_context = context()
        stack.callback(close_context, zmq_context)
        inlet = Inlet(zmq_context, folder, "back")
        # Ended before anything of the above is given back: it has the shared memory open.
        second = stack.enter_context(SecondProcess(f"{take_frames.__module__}:{take_frames.__name__}", [region.fd]))
        asked = {"device": kind, "n_bytes": n_bytes, "fd": region.fd, "region_bytes": region.n_bytes}
        second.send({**asked, **sender.handles(), "folder": str(folder), "endpoint": inlet.endpoint})
        answered = second.receive(PATIENCE_S)
        outlet = Outlet(zmq_context, answered["endpoint"])
        seen = _taken(sender, second, inlet, outlet, n_hops)
    return seen, not_locked or answered["not_locked"]


def _taken(
    sender: "_Sender", second: SecondProcess, inlet: Inlet, outlet: Outlet, n_hops: tuple[int, int]
) -> dict[Way, Hops]:
    waiter = Waiter([inlet, second.fd])
    times: dict[Way, list[float]] = {way: [] for way in sender.ways}
    wrong = dict.fromkeys(sender.ways, 0)
    n_sent = 0
    for at in range(sum(n_hops)):
        for way in sender.ways:
            pattern = n_sent % N_PATTERNS
            n_sent += way != Way.TICKET
            sender.make(pattern)
            begin_ns = time.monotonic_ns()
            sender.give(way)
            outlet.send(Ticket(pattern, 0, at, 0, epoch=way))
            said = waiter.wait(PATIENCE_S)
            answers = inlet.take()
            if not answers:
                if second.fd in said:
                    second.receive(0.0)  # raises what it says, or how it ended
                raise EngineError(f"the second process took no frame within {PATIENCE_S:g} s")
            wrong[way] += answers[0].sequence
            if at >= n_hops[0]:
                times[way].append((answers[0].pts_ns - begin_ns) / 1e6)
    return {way: Hops(times[way], wrong[way]) for way in sender.ways}


class _Sender:
    """The first process's side: where frames are made, and what they are given away in."""

    def __init__(self, device: Device, region: Region, n_bytes: int) -> None:
        self._device = device
        self._slot = region.array(0, (n_bytes,), "uint8")
        self._patterns = [device.allocate(n_bytes) for _ in range(N_PATTERNS)]
        for buffer, pattern in zip(self._patterns, patterns(n_bytes), strict=True):
            device.upload(buffer, pattern)
            device.wait()
        self._frame = device.allocate(n_bytes)
        self._shared: tuple[DeviceBuffer, SharedMark] | None = None
        self.ways = [Way.TICKET, Way.SLOTS]
        if isinstance(device, SharingDevice):
            self._shared = device.allocate(n_bytes), device.shared_mark()
            self.ways.append(Way.SHARED)

    def handles(self) -> dict[str, Any]:
        """Of the memory and the mark that are shared, as JSON."""
        if self._shared is None:
            return {"memory": None, "mark": None}
        assert isinstance(self._device, SharingDevice)
        buffer, mark = self._shared
        return {"memory": self._device.handle(buffer).to_json(), "mark": mark.handle.hex()}

    def make(self, pattern: int) -> None:
        """Let the frame lie on the device, done."""
        self._device.copy(self._frame, self._patterns[pattern])
        self._device.wait()

    def give(self, way: Way) -> None:
        """All that comes before the ticket. By CUDA IPC nothing is waited for."""
        if way == Way.SLOTS:
            self._device.download(self._slot, self._frame)
            self._device.wait()
        elif way == Way.SHARED:
            assert self._shared is not None
            buffer, mark = self._shared
            self._device.copy(buffer, self._frame)
            mark.record()

    def close(self) -> None:
        """When the second process has ended."""
        if self._shared is not None:
            buffer, mark = self._shared
            mark.free()
            buffer.free()
        for buffer in (self._frame, *self._patterns):
            buffer.free()
