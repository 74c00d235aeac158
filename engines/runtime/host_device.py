"""The seam of a GPU's memory over plain host memory: what a backend does with a device can be tried without one.

Copies are done at once and nothing can be captured, so `wait` has nothing to wait for. See `engines.runtime.device`.
"""

import ctypes
from collections.abc import Callable

import numpy as np

from engines.runtime.checked import Array, address_of
from engines.runtime.device import CaptureRefused, DeviceBuffer, DeviceGraph, DeviceMark

__all__ = ["HostDevice"]


class HostDevice:
    """Host memory; see `engines.runtime.device.Device`."""

    stream = 0

    def free_bytes(self) -> int:
        """More than anybody asks for: the system says no when there is none."""
        return 1 << 62

    def allocate(self, n_bytes: int) -> DeviceBuffer:
        memory = np.zeros(n_bytes, np.uint8)
        return _HostBuffer(memory)

    def upload(self, buffer: DeviceBuffer, array: Array) -> None:
        ctypes.memmove(buffer.address, address_of(array), array.nbytes)

    def download(self, array: Array, buffer: DeviceBuffer) -> None:
        ctypes.memmove(address_of(array), buffer.address, array.nbytes)

    def copy(self, to: DeviceBuffer, source: DeviceBuffer) -> None:
        ctypes.memmove(to.address, source.address, to.n_bytes)

    def mark(self) -> DeviceMark:
        return _Passed()

    def after(self, mark: DeviceMark) -> None:
        """It is reached."""

    def another(self) -> "HostDevice":
        return self

    def lock(self, address: int, n_bytes: int) -> None:
        """Nothing copies from it on its own."""

    def unlock(self, address: int) -> None:
        """Nothing was locked."""

    def captured(self, work: Callable[[], None]) -> DeviceGraph:
        raise CaptureRefused("host memory has no graphs")

    def run(self, work: Callable[[], None]) -> None:
        """Do it now."""
        work()

    def wait(self) -> None:
        """Everything is done."""

    def close(self) -> None:
        """Nothing is held."""


class _Passed:
    """Whatever was to be done is done."""

    def record(self) -> None:
        """Here."""

    def wait(self) -> None:
        """Nothing to wait for."""

    def free(self) -> None:
        """Nothing is held."""


class _HostBuffer(DeviceBuffer):
    def __init__(self, memory: Array) -> None:
        super().__init__(address_of(memory), memory.nbytes, lambda: setattr(self, "_memory", None))
        self._memory: Array | None = memory
