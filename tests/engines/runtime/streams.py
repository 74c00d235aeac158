"""A GPU whose streams take turns at random, as far as marks let them: what may happen in any order, does.

Nothing is done before somebody waits for a mark; then streams are drawn, one piece of work at a time, until it is
reached. Work that overwrites what another stream still needs shows as a wrong number.
"""

import random
import threading
from collections import deque
from collections.abc import Callable

import numpy as np

from engines.runtime.checked import Array
from engines.runtime.device import DeviceBuffer, DeviceGraph

__all__ = ["RandomDevice", "World"]

Work = Callable[[], bool]
"""Does a piece of work and says True, or cannot yet."""


class World:
    """All streams of one device."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.streams: list[RandomDevice] = []
        self.memory: dict[int, Array] = {}
        self.turn = threading.RLock()
        self.n_freed = 0

    def run_until(self, is_reached: Callable[[], bool]) -> None:
        """Streams by turns."""
        with self.turn:
            while not is_reached():
                able = [stream for stream in self.streams if stream.queue]
                assert able, "a mark that nothing leads to"
                stream = self.random.choice(able)
                if stream.queue[0]():
                    stream.queue.popleft()


class RandomDevice:
    """One stream; see `engines.runtime.device.Device`."""

    stream = 1

    def __init__(self, world: World) -> None:
        self.world = world
        self.queue: deque[Work] = deque()
        self.is_closed = False
        world.streams.append(self)

    def free_bytes(self) -> int:
        return 1 << 30

    def allocate(self, n_bytes: int) -> DeviceBuffer:
        address = 4096 * (len(self.world.memory) + 1)
        self.world.memory[address] = np.full(n_bytes, 255, np.uint8)
        return DeviceBuffer(address, n_bytes, self._count_freed)

    def upload(self, buffer: DeviceBuffer, array: Array) -> None:
        self.do(lambda: np.copyto(self.bytes(buffer), array.reshape(-1).view(np.uint8)))

    def download(self, array: Array, buffer: DeviceBuffer) -> None:
        self.do(lambda: np.copyto(array.reshape(-1).view(np.uint8), self.bytes(buffer)))

    def copy(self, to: DeviceBuffer, source: DeviceBuffer) -> None:
        self.do(lambda: np.copyto(self.bytes(to), self.bytes(source)))

    def mark(self) -> "RandomMark":
        return RandomMark(self)

    def after(self, mark: "RandomMark") -> None:
        wanted = mark.n_recorded  # as it is now: a later record of the same mark is not waited for
        self._queue(lambda: mark.n_reached >= wanted)

    def another(self) -> "RandomDevice":
        return RandomDevice(self.world)

    def lock(self, address: int, n_bytes: int) -> None:
        raise NotImplementedError

    def unlock(self, address: int) -> None:
        raise NotImplementedError

    def captured(self, work: Callable[[], None]) -> DeviceGraph:
        raise NotImplementedError

    def wait(self) -> None:
        self.world.run_until(lambda: not self.queue)

    def close(self) -> None:
        self.is_closed = True

    def bytes(self, buffer: DeviceBuffer) -> Array:
        """What lies in a buffer."""
        return self.world.memory[buffer.address]

    def do(self, work: Callable[[], None]) -> None:
        """Queue something that can always be done."""

        def done() -> bool:
            work()
            return True

        self._queue(done)

    def _queue(self, work: Work) -> None:
        with self.world.turn:
            self.queue.append(work)

    def _count_freed(self) -> None:
        self.world.n_freed += 1


class RandomMark:
    """A mark in one stream."""

    def __init__(self, device: RandomDevice) -> None:
        self._device = device
        self.n_recorded = self.n_reached = 0

    def record(self) -> None:
        self.n_recorded += 1
        number = self.n_recorded

        def reach() -> None:
            self.n_reached = number

        self._device.do(reach)

    def wait(self) -> None:
        wanted = self.n_recorded
        self._device.world.run_until(lambda: self.n_reached >= wanted)

    def free(self) -> None:
        self._device.world.n_freed += 1
