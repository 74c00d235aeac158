"""The second process of a hop: takes frames out of the slot or the shared memory, and says when it had them.

It waits as a worker does, for a ticket on ZeroMQ. The trap: what arrived is compared after its time was taken, and a
frame differs from the one before, on its way too; so one that is late, or not copied at all, is seen.
"""

import time
from contextlib import ExitStack
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineError
from engines.runtime.device import Device, DeviceBuffer, open_device
from engines.runtime.device_sharing import MemoryHandle, SharedMark, SharingDevice
from engines.runtime.host_device import HostDevice
from engines.runtime.second_process import Line
from pipeline.frame import Ticket
from pipeline.link import Inlet, Outlet, Waiter, close_context, context
from pipeline.memory import Region

__all__ = ["N_PATTERNS", "Way", "device_of_hops", "locked", "patterns", "take_frames"]

N_PATTERNS = 3
"""One more than there are ways, so that a frame differs from the last one of its own way too."""


class Way(IntEnum):
    """How a frame gets from one process's device memory to another's."""

    TICKET = 0
    """Not at all: what the ticket alone takes, there."""
    SLOTS = 1
    """Down into the slot, and up again."""
    SHARED = 2
    """It is there: from memory that both have to the other's own."""


def device_of_hops(kind: str) -> Device:
    """`shared` by CUDA IPC, `own` by whatever there is, `host` without a GPU."""
    return SharingDevice() if kind == "shared" else open_device() if kind == "own" else HostDevice()


def patterns(n_bytes: int) -> list[NDArray[np.uint8]]:
    """What frames look like; the same in both processes."""
    noise = np.random.default_rng(5)
    return [noise.integers(0, 256, n_bytes, np.uint8) for _ in range(N_PATTERNS)]


def locked(device: Device, region: Region) -> str | None:
    """Page-lock this process's mapping; why not, None when it is."""
    try:
        device.lock(*region.span)
    except EngineError as error:
        return " ".join(str(error).split())
    return None


def take_frames(line: Line) -> None:
    """Take the frames that tickets name, and send back when that was and what is wrong; until the owner hangs up."""
    asked = line.receive()
    with ExitStack() as stack:
        device = device_of_hops(asked["device"])
        stack.callback(device.close)
        region = Region(asked["fd"], asked["region_bytes"])
        not_locked = locked(device, region)
        if not_locked is None:
            stack.callback(device.unlock, region.span[0])
        desk = _Desk(device, region, asked["n_bytes"])
        stack.callback(desk.close)
        if asked["memory"] is not None:
            desk.open_shared(MemoryHandle.from_json(asked["memory"]), bytes.fromhex(asked["mark"]))
        zmq_context = context()
        stack.callback(close_context, zmq_context)
        inlet = Inlet(zmq_context, Path(asked["folder"]), "there")
        outlet = Outlet(zmq_context, asked["endpoint"])
        line.send({"endpoint": inlet.endpoint, "not_locked": not_locked})
        waiter = Waiter([inlet, line.fd])
        while line.fd not in waiter.wait(60.0):  # readable: the owner is gone
            for ticket in inlet.take():
                arrived_ns = desk.take(ticket)
                outlet.send(Ticket(ticket.slot, 0, desk.wrong_bytes(ticket), arrived_ns))


class _Desk:
    """Where a frame is taken from, on each way, and where it comes to lie."""

    def __init__(self, device: Device, region: Region, n_bytes: int) -> None:
        self._device = device
        self._slot = region.array(0, (n_bytes,), "uint8")
        self._own = device.allocate(n_bytes)
        self._expected, self._seen = patterns(n_bytes), np.zeros(n_bytes, np.uint8)
        self._shared: tuple[DeviceBuffer, SharedMark] | None = None

    def open_shared(self, handle: MemoryHandle, mark: bytes) -> None:
        """The other process's memory, and the mark behind what it writes there."""
        assert isinstance(self._device, SharingDevice)
        self._shared = self._device.opened(handle), self._device.opened_mark(mark)

    def take(self, ticket: Ticket) -> int:
        """When the frame was in this process's own device memory, on the monotonic clock, in ns."""
        if ticket.epoch == Way.SLOTS:
            self._device.upload(self._own, self._slot)
            self._device.wait()
        elif ticket.epoch == Way.SHARED:
            assert self._shared is not None
            buffer, mark = self._shared
            self._device.after(mark)
            self._device.copy(self._own, buffer)
            self._device.wait()
        return time.monotonic_ns()

    def wrong_bytes(self, ticket: Ticket) -> int:
        """Of the frame that was taken last; a ticket alone brings none."""
        if ticket.epoch == Way.TICKET:
            return 0
        self._device.download(self._seen, self._own)
        self._device.wait()
        return int(np.count_nonzero(self._seen != self._expected[ticket.slot]))

    def close(self) -> None:
        """What was opened goes before the owner frees it."""
        self._device.wait()
        if self._shared is not None:
            buffer, mark = self._shared
            mark.free()
            buffer.free()
        self._own.free()
