"""An engine as if on a GPU, and a device that writes into a file what is locked, given up and unmapped, by process."""

import os
from pathlib import Path
from typing import ClassVar

from engines import runtime
from engines.runtime import page_lock
from pipeline.memory import Region
from pipeline.stages import StageContext
from tests.engines.runtime.notebook import NotedDevice
from tests.stream.losing import LosingEngine, LosingSegment

NOTES_VARIABLE = "SEGSTREAM_TEST_NOTES"


class KeepingEngine(LosingEngine):
    """Never loses its GPU."""

    n_pictures: ClassVar[int] = -1_000_000


class FileDevice(NotedDevice):
    """Notes for another process to read."""

    def lock(self, address: int, n_bytes: int) -> None:
        assert n_bytes > 0
        note("lock", address)

    def unlock(self, address: int) -> None:
        note("unlock", address)


class LockingSegment(LosingSegment):
    """In the first process the GPU is lost; the one after it ends as it should."""

    def __init__(self, context: StageContext) -> None:
        super().__init__(context)
        if context.part:
            runtime.BACKENDS["losing"] = "tests.stream.locking:KeepingEngine"
        page_lock.nvidia_reason = lambda: None
        page_lock.open_device = lambda index=0: FileDevice()  # type: ignore[assignment]
        Region.close = noted_close  # type: ignore[method-assign]


CLOSE = Region.close


def noted_close(region: Region) -> None:
    """Unmap, and say so."""
    note("unmap", region.span[0])
    CLOSE(region)


def note(what: str, address: int) -> None:
    """One line, in one write: `12345 lock 7f00`."""
    with Path(os.environ[NOTES_VARIABLE]).open("a", encoding="ascii") as file:
        file.write(f"{os.getpid()} {what} {address:x}\n")
