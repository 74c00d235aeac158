"""Host memory that a GPU reads and writes without a copy on the way: its pages are locked, and CUDA knows them.

From pages that may be swapped out CUDA copies through a buffer of its own, and the call that queues such a copy waits
for it. The trap: memory is locked for one process's mapping of it, and has to be given up before it is unmapped. Memory
that is refused works all the same, only slower.

Not yet run on a GPU; order and refusals are tested with a device that takes notes.
"""

import contextlib
from collections.abc import Iterable

from engines.errors import BackendUnavailable, EngineError
from engines.machine import nvidia_reason
from engines.runtime.device import Device, open_device

__all__ = ["PageLock"]


class PageLock:
    """What this process has locked: nothing, until `lock`."""

    def __init__(self) -> None:
        self._device: Device | None = None
        self._addresses: list[int] = []

    def lock(self, spans: Iterable[tuple[int, int]]) -> None:
        """Lock all of these, or none.

        Args:
            spans: address and bytes of whole mappings, which stay where they are until `release`.

        Raises:
            EngineError: there is no driver, or CUDA refuses: its own words, and how much was wanted.
        """
        reason = nvidia_reason()  # asked first: looking for a device may import torch
        if reason is not None:
            raise BackendUnavailable(reason)
        wanted = list(spans)
        self._device = open_device()
        try:
            for address, n_bytes in wanted:
                self._device.lock(address, n_bytes)
                self._addresses.append(address)
        except EngineError as error:
            self.release()
            megabytes = sum(n_bytes for _, n_bytes in wanted) / 1e6
            raise EngineError(f"{megabytes:.0f} MB of slots could not be page-locked ({error})") from error

    def release(self) -> None:
        """Give up what was locked; a second call does nothing. After every engine that copies from it is closed."""
        device, self._device = self._device, None
        addresses, self._addresses = self._addresses, []
        if device is None:
            return
        for address in reversed(addresses):
            with contextlib.suppress(EngineError):  # the process ends, and the system gives up what CUDA would not
                device.unlock(address)
        device.close()
