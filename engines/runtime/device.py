"""Memory, streams and graphs of a GPU, by `cuda-bindings` or by torch, behind one small seam.

Both use the device's primary context, so addresses of one are good for the other and for TensorRT. The trap: copies are
only queued. A host buffer must stay as it is, and alive, until `wait` has returned for the stream it was queued on.

Neither implementation has been run on a GPU; the engine above them is tested with a device that only takes notes.
"""

import contextlib
import ctypes
import importlib
import importlib.util
import sys
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from engines.errors import BackendUnavailable, EngineError
from engines.runtime.checked import Array, address_of

__all__ = ["CaptureRefused", "Device", "DeviceBuffer", "DeviceGraph", "DeviceMark", "device_reason", "open_device"]

HOST_REGISTER_PORTABLE = 1
"""cudaHostRegisterPortable, for every context (CUDA Runtime API, "Memory Management"); torch has no name for it."""
REMEDY = "pip install 'segstream[cuda]' (or a torch with CUDA)"


class CaptureRefused(EngineError):
    """The work of a stream cannot be captured; it must be queued call by call."""


class DeviceBuffer:
    """Bytes on the device, at an address that never changes, until `free`."""

    def __init__(self, address: int, n_bytes: int, free: Callable[[], None]) -> None:
        self.address = address
        self.n_bytes = n_bytes
        self._free: Callable[[], None] | None = free

    def free(self) -> None:
        """Give the bytes back; a second call does nothing."""
        free, self._free = self._free, None
        if free is not None:
            free()


class DeviceGraph(Protocol):
    """Work that was captured, to be queued at once."""

    def launch(self) -> None:
        """Queue it on the stream it was captured on."""

    def free(self) -> None:
        """Forget it."""


class DeviceMark(Protocol):
    """A place in one stream's queue, which can be set again and again."""

    def record(self) -> None:
        """The queue's end as it is now."""

    def wait(self) -> None:
        """Until all before it is done; the thread sleeps, others run."""

    def free(self) -> None:
        """Give it back."""


class Device(Protocol):
    """One GPU and one stream of it."""

    stream: int
    """The stream's handle, for libraries that queue work themselves; never the default stream."""

    def free_bytes(self) -> int:
        """Device memory that nobody has."""

    def allocate(self, n_bytes: int) -> DeviceBuffer:
        """Memory for the caller, who frees it. Raises EngineError, saying how much was wanted, when there is none."""

    def upload(self, buffer: DeviceBuffer, array: Array) -> None:
        """Queue a copy from a C-ordered array; it may be read-only."""

    def download(self, array: Array, buffer: DeviceBuffer) -> None:
        """Queue a copy into a C-ordered array."""

    def copy(self, to: DeviceBuffer, source: DeviceBuffer) -> None:
        """Queue a copy of all of `to`, from the beginning of another buffer on the device."""

    def mark(self) -> DeviceMark:
        """A mark for this stream."""

    def after(self, mark: DeviceMark) -> None:
        """Do what is queued from now on only when another stream has reached its mark."""

    def another(self) -> "Device":
        """Another stream of the same device, by the same library."""

    def lock(self, address: int, n_bytes: int) -> None:
        """Page-lock host memory for as long as it is mapped, or until `unlock`. Raises EngineError when refused."""

    def unlock(self, address: int) -> None:
        """Give up what was locked from this address on, before it is unmapped."""

    def captured(self, work: Callable[[], None]) -> DeviceGraph:
        """Run `work` once while the stream notes what is queued instead of doing it. Raises CaptureRefused."""

    def wait(self) -> None:
        """Until all that was queued is done."""

    def close(self) -> None:
        """Give the stream back. Buffers and graphs go first."""


def device_reason() -> str | None:
    """Why device memory cannot be had here, None when it can. Imports nothing large."""
    if "torch" in sys.modules or _has_cuda_bindings() or importlib.util.find_spec("torch") is not None:
        return None
    return f"neither cuda-bindings nor torch is installed; {REMEDY}"


def open_device(index: int = 0) -> Device:
    """The device, by torch where it is loaded already, else by cuda-bindings, else by torch.

    Raises:
        BackendUnavailable: neither is installed or can be loaded, or the driver refuses both.
    """
    makers: list[Callable[[int], Device]] = []
    if _has_cuda_bindings():
        makers.append(CudaDevice)
    if importlib.util.find_spec("torch") is not None:
        makers.insert(0 if "torch" in sys.modules else len(makers), TorchDevice)
    reasons = []
    for make in makers:
        try:
            return make(index)
        except (EngineError, ImportError, RuntimeError) as error:  # the last two: cuda-bindings without its libraries
            reasons.append(" ".join(str(error).split())[:300])
    raise BackendUnavailable("; ".join(reasons) or str(device_reason()))


class CudaDevice:
    """By NVIDIA's own bindings of the CUDA runtime; see `Device`."""

    def __init__(self, index: int) -> None:
        self._cuda = importlib.import_module("cuda.bindings.runtime")
        self._index = index
        self._call("cudaSetDevice", index)
        self._stream = self._call("cudaStreamCreateWithFlags", self._cuda.cudaStreamNonBlocking)
        self.stream = int(self._stream)
        kinds = self._cuda.cudaMemcpyKind
        self._up, self._down = kinds.cudaMemcpyHostToDevice, kinds.cudaMemcpyDeviceToHost
        self._across = kinds.cudaMemcpyDeviceToDevice

    def free_bytes(self) -> int:
        free, _ = self._call("cudaMemGetInfo")
        return int(free)

    def allocate(self, n_bytes: int) -> DeviceBuffer:
        try:
            address = self._call("cudaMalloc", n_bytes)
        except EngineError as error:
            raise _no_memory(n_bytes, self.free_bytes(), error) from None
        return DeviceBuffer(int(address), n_bytes, lambda: self._call("cudaFree", address))

    def upload(self, buffer: DeviceBuffer, array: Array) -> None:
        self._call("cudaMemcpyAsync", buffer.address, address_of(array), array.nbytes, self._up, self._stream)

    def download(self, array: Array, buffer: DeviceBuffer) -> None:
        self._call("cudaMemcpyAsync", address_of(array), buffer.address, array.nbytes, self._down, self._stream)

    def copy(self, to: DeviceBuffer, source: DeviceBuffer) -> None:
        self._call("cudaMemcpyAsync", to.address, source.address, to.n_bytes, self._across, self._stream)

    def mark(self) -> DeviceMark:
        flags = self._cuda.cudaEventBlockingSync | self._cuda.cudaEventDisableTiming
        return _CudaMark(self._call, self._call("cudaEventCreateWithFlags", flags), self._stream)

    def after(self, mark: DeviceMark) -> None:
        assert isinstance(mark, _CudaMark), "a mark of another library"
        self._call("cudaStreamWaitEvent", self._stream, mark.event, 0)

    def another(self) -> Device:
        return CudaDevice(self._index)

    def lock(self, address: int, n_bytes: int) -> None:
        try:
            self._call("cudaHostRegister", address, n_bytes, self._cuda.cudaHostRegisterPortable)
        except EngineError:
            self._cuda.cudaGetLastError()  # else whoever asks next for the last error takes it for his own
            raise

    def unlock(self, address: int) -> None:
        self._call("cudaHostUnregister", address)

    def captured(self, work: Callable[[], None]) -> DeviceGraph:
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        graph = None
        try:
            self._call("cudaStreamBeginCapture", self._stream, mode)
            try:
                work()
            finally:
                graph = self._call("cudaStreamEndCapture", self._stream)  # always: a stream left capturing is lost
            executable = self._call("cudaGraphInstantiate", graph, 0)
        except EngineError as error:
            raise CaptureRefused(str(error)) from error
        finally:
            if graph is not None:
                self._cuda.cudaGraphDestroy(graph)
        return _CudaGraph(self, executable)

    def launch(self, executable: Any) -> None:
        """Queue a captured graph."""
        self._call("cudaGraphLaunch", executable, self._stream)

    def forget(self, executable: Any) -> None:
        """Free a captured graph."""
        self._call("cudaGraphExecDestroy", executable)

    def wait(self) -> None:
        self._call("cudaStreamSynchronize", self._stream)

    def close(self) -> None:
        self._call("cudaStreamDestroy", self._stream)

    def _call(self, name: str, *arguments: Any) -> Any:
        """A function of the CUDA runtime without its error number: None, one value, or a tuple of values."""
        error, *values = getattr(self._cuda, name)(*arguments)
        if int(error):
            _, text = self._cuda.cudaGetErrorString(error)
            raise EngineError(f"{name}: CUDA error {int(error)}, {text.decode(errors='replace')}")
        return values[0] if len(values) == 1 else tuple(values) or None


class _CudaGraph:
    def __init__(self, device: CudaDevice, executable: Any) -> None:
        self._device, self._executable = device, executable

    def launch(self) -> None:
        self._device.launch(self._executable)

    def free(self) -> None:
        self._device.forget(self._executable)


class _CudaMark:
    def __init__(self, call: Callable[..., Any], event: Any, stream: Any) -> None:
        self._call, self.event, self._stream = call, event, stream

    def record(self) -> None:
        self._call("cudaEventRecord", self.event, self._stream)

    def wait(self) -> None:
        self._call("cudaEventSynchronize", self.event)

    def free(self) -> None:
        self._call("cudaEventDestroy", self.event)


class TorchDevice:
    """By torch, whose caching allocator then has all device memory of the process; see `Device`."""

    def __init__(self, index: int) -> None:
        import torch

        if not torch.cuda.is_available():
            raise BackendUnavailable("the torch that is installed has no CUDA, or the driver is too old for it")
        self._torch: Any = torch
        self._device = torch.device("cuda", index)
        self._own = self._torch.cuda.Stream(self._device)
        self.stream = int(self._own.cuda_stream)

    def free_bytes(self) -> int:
        free, _ = self._torch.cuda.mem_get_info(self._device)
        return int(free)

    def allocate(self, n_bytes: int) -> DeviceBuffer:
        try:
            tensor = self._torch.empty(n_bytes, dtype=self._torch.uint8, device=self._device)
        except self._torch.OutOfMemoryError as error:
            raise _no_memory(n_bytes, self.free_bytes(), error) from None
        buffer = _TorchBuffer(tensor.data_ptr(), n_bytes, lambda: setattr(buffer, "tensor", None))
        buffer.tensor = tensor
        return buffer

    def upload(self, buffer: DeviceBuffer, array: Array) -> None:
        with self._torch.cuda.stream(self._own):
            self._of(buffer)[: array.nbytes].copy_(self._host(array), non_blocking=True)

    def download(self, array: Array, buffer: DeviceBuffer) -> None:
        with self._torch.cuda.stream(self._own):
            self._host(array).copy_(self._of(buffer)[: array.nbytes], non_blocking=True)

    def copy(self, to: DeviceBuffer, source: DeviceBuffer) -> None:
        with self._torch.cuda.stream(self._own):
            self._of(to).copy_(self._of(source)[: to.n_bytes], non_blocking=True)

    def mark(self) -> DeviceMark:
        return _TorchMark(self._torch.cuda.Event(blocking=True), self._own)

    def after(self, mark: DeviceMark) -> None:
        assert isinstance(mark, _TorchMark), "a mark of another library"
        self._own.wait_event(mark.event)

    def another(self) -> Device:
        return TorchDevice(self._device.index)

    def lock(self, address: int, n_bytes: int) -> None:
        error = int(self._torch.cuda.cudart().cudaHostRegister(address, n_bytes, HOST_REGISTER_PORTABLE))
        if error:
            # CUDA keeps it as the last error, and torch would raise it after its next kernel, whatever that is.
            with contextlib.suppress(RuntimeError):
                self._torch.ones(1, device=self._device)
            raise EngineError(f"cudaHostRegister: CUDA error {error}")

    def unlock(self, address: int) -> None:
        error = int(self._torch.cuda.cudart().cudaHostUnregister(address))
        if error:
            raise EngineError(f"cudaHostUnregister: CUDA error {error}")

    def captured(self, work: Callable[[], None]) -> DeviceGraph:
        graph = self._torch.cuda.CUDAGraph()
        try:
            with self._torch.cuda.graph(graph, stream=self._own, capture_error_mode="thread_local"):
                work()
        except (RuntimeError, EngineError) as error:  # of torch, or of the work itself
            raise CaptureRefused(" ".join(str(error).split())[:300]) from error
        return _TorchGraph(self._torch, self._own, graph)

    def run(self, work: Callable[[], None]) -> None:
        """Queue what torch is called for in `work`."""
        with self._torch.cuda.stream(self._own):
            work()

    def wait(self) -> None:
        try:
            self._own.synchronize()
        except RuntimeError as error:
            raise EngineError(" ".join(str(error).split())[:300]) from error

    def close(self) -> None:
        self._own = None

    def _of(self, buffer: DeviceBuffer) -> Any:
        assert isinstance(buffer, _TorchBuffer), "a buffer of another device"
        return buffer.tensor

    def _host(self, array: Array) -> Any:
        # Over the bare address: torch warns of read-only arrays, and an image that is only read may be one.
        memory = (ctypes.c_uint8 * array.nbytes).from_address(address_of(array))
        return self._torch.from_numpy(np.frombuffer(memoryview(memory), np.uint8))


class _TorchBuffer(DeviceBuffer):
    tensor: Any = None


class _TorchMark:
    def __init__(self, event: Any, stream: Any) -> None:
        self.event, self._stream = event, stream

    def record(self) -> None:
        self.event.record(self._stream)

    def wait(self) -> None:
        self.event.synchronize()

    def free(self) -> None:
        """Goes with the last reference."""


class _TorchGraph:
    def __init__(self, torch: Any, stream: Any, graph: Any) -> None:
        self._torch, self._stream, self._graph = torch, stream, graph

    def launch(self) -> None:
        with self._torch.cuda.stream(self._stream):
            self._graph.replay()

    def free(self) -> None:
        self._graph.reset()


def _no_memory(n_bytes: int, free_bytes: int, error: Exception) -> EngineError:
    return EngineError(
        f"{n_bytes / 1e6:.0f} MB of device memory are wanted, {free_bytes / 1e6:.0f} MB are free ({error}); close "
        "other programs that use the GPU, or take a smaller size or batch"
    )


def _has_cuda_bindings() -> bool:
    try:
        return importlib.util.find_spec("cuda.bindings.runtime") is not None
    except (ImportError, RuntimeError):  # the package `cuda` itself is missing, or cannot be loaded
        return False
