"""Copies to and from a device, and marks that say when all that was queued before is done.

On a GPU pictures go up on a stream of their own, so that the copy of one frame overlaps with the network's work on the
one before; all else is queued on the engine's stream. Over host memory everything is done at once. The trap: a copy is
only as asynchronous as the host's memory is page-locked.
"""

import contextlib
import ctypes
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from engines.runtime.checked import address_of
from engines.runtime.device import DeviceBuffer

__all__ = ["CudaLanes", "HostLanes", "Lanes", "Mark", "host_tensor"]


class Mark(Protocol):
    """A place in the queue."""

    def is_done(self) -> bool:
        """Whether all that was queued before it is done."""

    def wait(self) -> None:
        """Until it is; other threads run meanwhile."""


class Lanes(Protocol):
    """Where tensors lie, and the queue of work on them."""

    device: torch.device

    def tensor_over(self, buffer: DeviceBuffer, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """A view of an engine's buffer, from its beginning."""

    def work(self) -> AbstractContextManager[Any]:
        """What torch and triton are called for within, is queued behind the engine's work."""

    def upload(self, tensor: torch.Tensor, array: NDArray[Any]) -> None:
        """Queue a copy from host memory, which stays as it is until a later mark; work queued later sees it."""

    def download(self, array: NDArray[Any], tensor: torch.Tensor) -> None:
        """Queue a copy into host memory, behind the work."""

    def mark(self) -> Mark:
        """The queue's end as it is now."""


class HostLanes:
    """Host memory; see `Lanes`."""

    device = torch.device("cpu")

    def tensor_over(self, buffer: DeviceBuffer, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return _shaped(_over(buffer.address, buffer.n_bytes), shape, dtype)

    def work(self) -> AbstractContextManager[Any]:
        return contextlib.nullcontext()

    def upload(self, tensor: torch.Tensor, array: NDArray[Any]) -> None:
        tensor.copy_(host_tensor(array))

    def download(self, array: NDArray[Any], tensor: torch.Tensor) -> None:
        host_tensor(array).copy_(tensor)

    def mark(self) -> Mark:
        return _Done()


class _Done:
    def is_done(self) -> bool:
        return True

    def wait(self) -> None:
        """It is."""


class CudaLanes:
    """One GPU: the stream of an engine, and one for pictures that go up; see `Lanes`."""

    def __init__(self, stream: int) -> None:
        """`stream`: handle of the engine's stream, which outlives this."""
        self.device = torch.device("cuda", torch.cuda.current_device())
        cuda: Any = torch.cuda  # of a torch with CUDA; the stubs of other builds know less
        self._cuda = cuda
        self._work = cuda.ExternalStream(stream, device=self.device)
        self._up = cuda.Stream(self.device)

    def tensor_over(self, buffer: DeviceBuffer, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        flat = getattr(buffer, "tensor", None)
        if flat is None:
            flat = torch.as_tensor(_Bytes(buffer.address, buffer.n_bytes), device=self.device)
        return _shaped(flat, shape, dtype)

    def work(self) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = self._cuda.stream(self._work)
        return context

    def upload(self, tensor: torch.Tensor, array: NDArray[Any]) -> None:
        with self._cuda.stream(self._up):
            tensor.copy_(host_tensor(array), non_blocking=True)
        self._work.wait_stream(self._up)

    def download(self, array: NDArray[Any], tensor: torch.Tensor) -> None:
        with self._cuda.stream(self._work):
            host_tensor(array).copy_(tensor, non_blocking=True)

    def mark(self) -> Mark:
        return _CudaMark(self._cuda, self._work)


class _CudaMark:
    def __init__(self, cuda: Any, stream: Any) -> None:
        self._event = cuda.Event(blocking=True)  # the thread sleeps; else a core spins while the GPU works
        self._event.record(stream)

    def is_done(self) -> bool:
        return bool(self._event.query())

    def wait(self) -> None:
        self._event.synchronize()


class _Bytes:
    """Device memory as the CUDA Array Interface describes it (version 3, numba's documentation)."""

    def __init__(self, address: int, n_bytes: int) -> None:
        self.__cuda_array_interface__ = {"shape": (n_bytes,), "typestr": "|u1", "data": (address, False), "version": 3}


def host_tensor(array: NDArray[Any]) -> torch.Tensor:
    """A C-ordered array as a tensor over the same memory; torch would warn of one that is read-only."""
    return _shaped(_over(address_of(array), array.nbytes), array.shape, getattr(torch, array.dtype.name))


def _over(address: int, n_bytes: int) -> torch.Tensor:
    memory = (ctypes.c_uint8 * n_bytes).from_address(address)
    return torch.from_numpy(np.frombuffer(memoryview(memory), np.uint8))


def _shaped(flat: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    n_bytes = int(np.prod(shape)) * dtype.itemsize
    return flat[:n_bytes].view(dtype).view(shape)
