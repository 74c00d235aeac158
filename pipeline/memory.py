"""Shared memory without a name: made by the supervisor, handed to workers as a file descriptor.

A `memfd` dies with its last descriptor, so nothing can leak after SIGKILL, and it is fully allocated
at the start, so a full machine is an error here and not a SIGBUS in mid-run.
"""

import mmap
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StreamError

__all__ = ["Region"]


class Region:
    """A block of shared bytes; every process that has the descriptor sees the same ones."""

    def __init__(self, fd: int, n_bytes: int) -> None:
        self.fd = fd
        self.n_bytes = n_bytes
        self._map = mmap.mmap(fd, n_bytes)

    @classmethod
    def create(cls, n_bytes: int, label: str) -> Self:
        """Allocate zeroed memory.

        Raises:
            StreamError: the machine does not have so much memory.
        """
        room = _available_bytes()
        if room is not None and n_bytes > room:
            raise StreamError(
                f"{label}: {n_bytes / 2**20:.0f} MiB of shared memory wanted, {room / 2**20:.0f} MiB are free; "
                "use a smaller --size or fewer slots (--set slots=4)"
            )
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create(f"segstream-{label}", os.MFD_CLOEXEC)
        else:  # no memfd outside Linux: a file that has no name any more behaves the same
            with tempfile.TemporaryFile() as file:
                fd = os.dup(file.fileno())
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(fd, 0, n_bytes)
            else:
                os.ftruncate(fd, n_bytes)
        except OSError as error:
            os.close(fd)
            raise StreamError(
                f"{label}: {n_bytes / 2**20:.0f} MiB of shared memory could not be had ({error.strerror}); "
                "use a smaller --size or fewer slots (--set slots=4)"
            ) from error
        return cls(fd, n_bytes)

    def array(self, offset: int, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """A writable view of part of the region, valid until `close`."""
        count = int(np.prod(shape))
        return np.frombuffer(self._map, dtype=dtype, count=count, offset=offset).reshape(shape)

    @property
    def span(self) -> tuple[int, int]:
        """Address in this process, and bytes; good until `close`."""
        return np.frombuffer(self._map, np.uint8).ctypes.data, self.n_bytes

    def close(self) -> None:
        """Give up this process's share; views that are still held keep the mapping alive, not the descriptor."""
        if self.fd < 0:
            return
        os.close(self.fd)
        self.fd = -1
        with suppress(BufferError):  # somebody still holds a view; the kernel frees the mapping with the process
            self._map.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _available_bytes() -> int | None:
    # Asked first, since allocating more than there is would make the kernel kill somebody instead of refusing.
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None
