"""How many frames a second go from one process to another, by our slots and by the usual ways?

One producer, one consumer that reads a byte of every page; frames a second as the consumer counts
them, flat out. Every way has at most eight frames under way. `memcpy` is the same copy into the same
memory with nobody to hand it to: what the machine can do at best.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import zmq
from numpy.typing import NDArray

from pipeline.frame import PlaneSpec, Ticket, TicketFlag
from pipeline.link import Inlet, Outlet, Waiter, context, make_socket_folder, remove_socket_folder
from pipeline.memory import Region
from pipeline.slots import SlotPool
from pipeline.timing import fps

__all__ = ["SIZES", "WAYS", "bench_transport"]

SIZES = ((640, 360), (1280, 720), (1920, 1080), (3840, 2160))
WAYS = ("slots", "memcpy", "zmq_zero_copy", "zmq_copy", "zmq_jpeg", "queue")
_UNDER_WAY = 8
_ROUNDS = 3
_PAGE = 4096

Frame = NDArray[np.uint8]
Result = tuple[int, int, int]
"""(frames, first_ns, last_ns)"""


def bench_transport(*, seconds: float) -> tuple[dict[str, Any], str]:
    """Measure every way at every size.

    Args:
        seconds: for each way, size and round.

    Returns:
        `{"1280x720": {"slots": frames/s, ...}, ...}` and a table for people; medians of three rounds.
    """
    figures: dict[str, Any] = {}
    for width, height in SIZES:
        frame = _camera_frame(width, height)
        rounds: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(_ROUNDS):
            for way in WAYS:
                rounds[way].append(_measure(way, frame, seconds))
        figures[f"{width}x{height}"] = {way: round(statistics.median(found), 1) for way, found in rounds.items()}
    return figures, _table(figures)


def _measure(way: str, frame: Frame, seconds: float) -> float:
    if way == "memcpy":
        return _memcpy(frame, seconds)
    with _consumer(way, frame) as (send, result):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            send(frame)
        return fps(*result())


def _memcpy(frame: Frame, seconds: float) -> float:
    with Region.create(frame.nbytes * _UNDER_WAY, "memcpy") as region:
        slots = [region.array(i * frame.nbytes, frame.shape, "uint8") for i in range(_UNDER_WAY)]
        n, begin_ns = 0, time.monotonic_ns()
        while time.monotonic_ns() - begin_ns < seconds * 1e9:
            np.copyto(slots[n % _UNDER_WAY], frame)
            n += 1
        rate = n * 1e9 / (time.monotonic_ns() - begin_ns)
        slots.clear()
        return rate


@contextmanager
def _consumer(way: str, frame: Frame) -> Iterator[tuple[Callable[[Frame], None], Callable[[], Result]]]:
    """Start the consumer of one way; gives `send(frame)` and `result()`, which ends it."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    folder = make_socket_folder()
    ctx = context()
    producer: Any = _PRODUCERS[way](ctx, folder, frame, spawn)
    process = spawn.Process(target=_consume, args=(way, str(folder), frame.shape, producer.shared, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        producer.connect(ours.recv())

        def result() -> Result:
            producer.end()
            n, first_ns, last_ns = ours.recv()
            return n, first_ns, last_ns

        yield producer.send, result
    finally:
        process.join(10)
        process.kill()
        producer.close()
        ctx.destroy(linger=0)
        remove_socket_folder(folder)


class _Slots:
    """Ours: a copy into a slot, a ticket there, a credit back."""

    def __init__(self, ctx: Any, folder: Path, frame: Frame, spawn: Any) -> None:
        del spawn
        self._ctx = ctx
        self._plane = PlaneSpec("image_bgr", frame.shape, "uint8")
        self._pool = SlotPool.create(_UNDER_WAY, {"image_bgr": frame.nbytes})
        self._credits = Inlet(ctx, folder, "credits")
        self._waiter = Waiter([self._credits])
        self._free = [self._pool.acquire(s, sequence=0, pts_ns=0, captured_ns=0) for s in range(_UNDER_WAY)]
        self._n = 0
        self.shared: Any = _Fd(self._pool.region.fd)

    def connect(self, endpoint: str) -> None:
        self._outlet = Outlet(self._ctx, endpoint)

    def send(self, frame: Frame) -> None:
        while not self._free:
            self._waiter.wait(1.0)
            self._free = self._credits.take()
        slot = self._free.pop(0).slot
        ticket = self._pool.acquire(slot, sequence=self._n, pts_ns=0, captured_ns=0)
        np.copyto(self._pool.view(slot, self._plane), frame)
        self._pool.hand_over(ticket, 1)
        self._outlet.send(ticket)
        self._n += 1

    def end(self) -> None:
        self._outlet.send(Ticket(0, 0, 0, 0, flags=TicketFlag.END))

    def close(self) -> None:
        self._outlet.close()
        self._credits.close()
        self._pool.close()


class _Zmq:
    """Pixels as a ZeroMQ message: copied, without a copy on the sending side, or as JPEG."""

    def __init__(self, ctx: Any, folder: Path, frame: Frame, spawn: Any, *, copy: bool, jpeg: bool) -> None:
        del folder, frame, spawn
        self._socket = ctx.socket(zmq.PUSH)
        self._socket.setsockopt(zmq.SNDHWM, _UNDER_WAY // 2)
        self._copy, self._jpeg = copy, jpeg
        self.shared: Any = None

    def connect(self, endpoint: str) -> None:
        self._socket.connect(endpoint)

    def send(self, frame: Frame) -> None:
        payload = cv2.imencode(".jpg", frame)[1] if self._jpeg else frame
        self._socket.send(payload, copy=self._copy)

    def end(self) -> None:
        self._socket.send(b"")

    def close(self) -> None:
        self._socket.close(linger=0)


class _Queue:
    """`multiprocessing.Queue`: the frame pickled through a pipe."""

    def __init__(self, ctx: Any, folder: Path, frame: Frame, spawn: Any) -> None:
        del ctx, folder, frame
        self.shared: Any = spawn.Queue(_UNDER_WAY)

    def connect(self, endpoint: str) -> None:
        del endpoint

    def send(self, frame: Frame) -> None:
        self.shared.put(frame)

    def end(self) -> None:
        self.shared.put(None)

    def close(self) -> None:
        self.shared.close()


class _Fd:
    """A descriptor that a spawned child gets as its own."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __getstate__(self) -> dict[str, Any]:
        return {"duplicate": DupFd(self.fd)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.fd = state["duplicate"].detach()


_PRODUCERS: dict[str, Callable[..., Any]] = {
    "slots": _Slots,
    "zmq_zero_copy": lambda *a: _Zmq(*a, copy=False, jpeg=False),
    "zmq_copy": lambda *a: _Zmq(*a, copy=True, jpeg=False),
    "zmq_jpeg": lambda *a: _Zmq(*a, copy=True, jpeg=True),
    "queue": _Queue,
}


def _consume(way: str, folder: str, shape: tuple[int, ...], shared: Any, answer: Any) -> None:
    """The other process: read every frame, count them, say when the first and the last came."""
    ctx = context()
    frames: Callable[..., Iterator[NDArray[Any]]] = {"slots": _from_slots, "queue": _from_queue}.get(way, _from_zmq)
    n, first_ns, last_ns = 0, 0, 0
    for pixels in frames(ctx, Path(folder), shape, shared, answer, way):
        pixels.reshape(-1)[::_PAGE].sum()
        last_ns = time.monotonic_ns()
        first_ns = first_ns or last_ns
        n += 1
    answer.send((n, first_ns, last_ns))
    ctx.destroy(linger=0)


def _from_slots(
    ctx: Any, folder: Path, shape: tuple[int, ...], shared: _Fd, answer: Any, way: str
) -> Iterator[NDArray[Any]]:
    del way
    plane = PlaneSpec("image_bgr", shape, "uint8")
    pool = SlotPool.attach(shared.fd, _UNDER_WAY, {"image_bgr": plane.n_bytes})
    inlet = Inlet(ctx, folder, "frames")
    waiter = Waiter([inlet])
    answer.send(inlet.endpoint)
    credit = Outlet(ctx, f"ipc://{folder}/credits")
    while True:
        waiter.wait(1.0)
        for ticket in inlet.take():
            if ticket.flags & TicketFlag.END:
                inlet.close()
                credit.close()
                return
            pool.check(ticket)
            yield pool.view(ticket.slot, plane)
            pool.hand_over(ticket, 2)
            credit.send(ticket)


def _from_zmq(
    ctx: Any, folder: Path, shape: tuple[int, ...], shared: None, answer: Any, way: str
) -> Iterator[NDArray[Any]]:
    del shared
    socket = ctx.socket(zmq.PULL)
    socket.setsockopt(zmq.RCVHWM, _UNDER_WAY // 2)
    endpoint = f"ipc://{folder}/frames"
    socket.bind(endpoint)
    answer.send(endpoint)
    while True:
        part = socket.recv(copy=way != "zmq_zero_copy")
        payload = part if isinstance(part, bytes) else part.buffer
        if not len(payload):
            socket.close(linger=0)
            return
        pixels = np.frombuffer(payload, np.uint8)
        yield np.asarray(cv2.imdecode(pixels, cv2.IMREAD_COLOR)) if way == "zmq_jpeg" else pixels.reshape(shape)


def _from_queue(
    ctx: Any, folder: Path, shape: tuple[int, ...], shared: Any, answer: Any, way: str
) -> Iterator[NDArray[Any]]:
    del ctx, folder, shape, way
    answer.send("")
    while (frame := shared.get()) is not None:
        yield frame


def _camera_frame(width: int, height: int) -> Frame:
    # Smooth shapes with sensor noise: a flat picture would flatter JPEG.
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (9, 16, 3), dtype=np.uint8)
    smooth = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
    noise = rng.standard_normal(smooth.shape, dtype=np.float32) * 3
    noisy: Frame = np.clip(smooth + noise, 0, 255).astype(np.uint8)
    return noisy


def _table(figures: dict[str, Any]) -> str:
    lines = ["frames/s from one process to another", "size       " + "".join(f"{way:>15}" for way in WAYS)]
    for size, row in figures.items():
        lines.append(f"{size:<11}" + "".join(f"{row[way]:15.0f}" for way in WAYS) + f"   {_ratios(row)}")
    return "\n".join(lines)


def _ratios(row: dict[str, float]) -> str:
    against = {"memcpy": "memcpy", "zmq_zero_copy": "zero-copy", "queue": "queue"}
    return ", ".join(f"{row['slots'] / row[way]:.2f} x {name}" for way, name in against.items() if row[way])
