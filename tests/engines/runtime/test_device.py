"""Device memory by cuda-bindings, on a CUDA runtime that takes notes; names and orders of arguments are CUDA's own."""

import contextlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engines.errors import BackendUnavailable, EngineError
from engines.runtime import device as device_module
from engines.runtime.device import CaptureRefused, CudaDevice, TorchDevice, open_device


class NotedCuda:
    """Stands for `cuda.bindings.runtime`: each function returns an error number, then its values."""

    cudaStreamNonBlocking = 1  # noqa: N815
    cudaHostRegisterPortable = 1  # noqa: N815
    cudaEventBlockingSync, cudaEventDisableTiming = 1, 2  # noqa: N815
    cudaMemcpyKind = SimpleNamespace(  # noqa: N815
        cudaMemcpyHostToDevice="up", cudaMemcpyDeviceToHost="down", cudaMemcpyDeviceToDevice="across"
    )
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal="thread")  # noqa: N815

    VALUES = {
        "cudaStreamCreateWithFlags": (5,),
        "cudaMemGetInfo": (3_000_000, 9_000_000),
        "cudaMalloc": (4096,),
        "cudaEventCreateWithFlags": ("event",),
        "cudaStreamEndCapture": ("graph",),
        "cudaGraphInstantiate": ("executable",),
    }

    def __init__(self, **errors: int) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.errors = errors

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cuda"):
            raise AttributeError(name)

        def call(*arguments: Any) -> tuple[Any, ...]:
            self.calls.append((name, *arguments))
            error = self.errors.get(name, 0)
            values = self.VALUES.get(name, ())
            return (error, *(None if error else value for value in values))

        return call

    def cudaGetErrorString(self, error: int) -> tuple[int, bytes]:
        """Text of a number."""
        return 0, b"as the driver says"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a device over a noted runtime."""

    def make(**errors: int) -> tuple[CudaDevice, NotedCuda]:
        cuda = NotedCuda(**errors)
        monkeypatch.setattr(device_module.importlib, "import_module", lambda name: cuda)
        return CudaDevice(0), cuda

    return make


def test_copies_name_both_ends_their_size_and_the_stream(opened: Any) -> None:
    """Destination first, as in C; the stream is our own and never the default one."""
    device, cuda = opened()
    buffer, array = device.allocate(12), np.zeros((3, 4), np.uint8)
    cuda.calls.clear()

    device.upload(buffer, array)
    device.download(array, buffer)
    device.wait()

    host = array.ctypes.data
    assert cuda.calls == [
        ("cudaMemcpyAsync", 4096, host, 12, "up", 5),
        ("cudaMemcpyAsync", host, 4096, 12, "down", 5),
        ("cudaStreamSynchronize", 5),
    ]


def test_one_stream_waits_for_the_mark_of_another(opened: Any) -> None:
    """A mark has no time and lets its thread sleep; it is recorded on its own stream, and the other one waits."""
    device, cuda = opened()
    small, large = device.allocate(8), device.allocate(12)
    other = device.another()
    cuda.calls.clear()

    mark = device.mark()
    device.copy(small, large)
    mark.record()
    other.after(mark)
    mark.wait()
    mark.free()

    assert cuda.calls == [
        ("cudaEventCreateWithFlags", 3),
        ("cudaMemcpyAsync", 4096, 4096, 8, "across", 5),
        ("cudaEventRecord", "event", 5),
        ("cudaStreamWaitEvent", 5, "event", 0),
        ("cudaEventSynchronize", "event"),
        ("cudaEventDestroy", "event"),
    ]


def test_host_memory_is_locked_and_given_up(opened: Any) -> None:
    """For every context; it is given up by its address alone."""
    device, cuda = opened()
    cuda.calls.clear()

    device.lock(8192, 4096)
    device.unlock(8192)

    assert cuda.calls == [("cudaHostRegister", 8192, 4096, 1), ("cudaHostUnregister", 8192)]


def test_a_refused_lock_leaves_no_error_behind(opened: Any) -> None:
    """CUDA keeps the last error for whoever asks next; a kernel that is launched later must not find this one."""
    device, cuda = opened(cudaHostRegister=2)
    cuda.calls.clear()

    with pytest.raises(EngineError, match="cudaHostRegister: CUDA error 2"):
        device.lock(8192, 4096)

    assert cuda.calls == [("cudaHostRegister", 8192, 4096, 1), ("cudaGetLastError",)]


def test_a_buffer_is_given_back_once(opened: Any) -> None:
    """A second `free` does nothing."""
    device, cuda = opened()
    buffer = device.allocate(12)
    cuda.calls.clear()

    buffer.free()
    buffer.free()

    assert cuda.calls == [("cudaFree", 4096)]


def test_no_memory_is_told_with_what_was_wanted(opened: Any) -> None:
    """And with what there is."""
    device, _ = opened(cudaMalloc=2)

    with pytest.raises(EngineError, match=r"8 MB of device memory are wanted, 3 MB are free \(.*CUDA error 2"):
        device.allocate(8_000_000)


def test_captured_work_is_launched_and_forgotten(opened: Any) -> None:
    """The template of a graph goes as soon as it can be launched."""
    device, cuda = opened()
    cuda.calls.clear()

    graph = device.captured(lambda: cuda.calls.append(("work",)))
    graph.launch()
    graph.free()

    assert [call[0] for call in cuda.calls] == [
        *("cudaStreamBeginCapture", "work", "cudaStreamEndCapture", "cudaGraphInstantiate", "cudaGraphDestroy"),
        *("cudaGraphLaunch", "cudaGraphExecDestroy"),
    ]


def test_work_that_cannot_be_captured_leaves_the_stream_usable(opened: Any) -> None:
    """The capture is always ended, also when the work in it fails."""
    device, cuda = opened()

    def fail() -> None:
        raise EngineError("not in a capture")

    with pytest.raises(CaptureRefused, match="not in a capture"):
        device.captured(fail)
    assert ("cudaStreamEndCapture", 5) in cuda.calls


def test_an_error_of_the_driver_is_told_by_function_and_number(opened: Any) -> None:
    """As someone would search for it."""
    device, _ = opened(cudaStreamSynchronize=700)

    with pytest.raises(EngineError, match="cudaStreamSynchronize: CUDA error 700, as the driver says"):
        device.wait()


def test_without_either_library_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A streaming install has neither torch nor cuda-bindings."""
    monkeypatch.setattr(device_module.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(device_module, "sys", SimpleNamespace(modules={}))

    with pytest.raises(BackendUnavailable, match=r"pip install 'segstream\[cuda\]'"):
        open_device()


@pytest.mark.parametrize("error", [ImportError("no libcudart.so"), RuntimeError("no libcudart")])
def test_bindings_that_cannot_be_loaded_leave_it_to_torch(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are there and their libraries are not; what torch says comes with it when torch cannot either."""

    def fail(name: str) -> None:
        raise error

    def refuse(index: int) -> None:
        raise BackendUnavailable("torch has no CUDA")

    monkeypatch.setattr(device_module, "_has_cuda_bindings", lambda: True)
    monkeypatch.setattr(device_module.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(device_module, "sys", SimpleNamespace(modules={}))
    monkeypatch.setattr(device_module.importlib, "import_module", fail)
    monkeypatch.setattr(device_module, "TorchDevice", lambda index: "torch")

    assert open_device() == "torch"

    monkeypatch.setattr(device_module, "TorchDevice", refuse)
    with pytest.raises(BackendUnavailable, match=f"{error}; torch has no CUDA"):
        open_device()


@pytest.mark.parametrize("error", [EngineError("TensorRT failed"), RuntimeError("operation not permitted")])
def test_work_that_fails_in_a_graph_of_torch_is_a_refused_capture(error: Exception) -> None:
    """Then the engine queues call by call, as with the bindings; TensorRT tells its own failures as EngineError."""
    device = TorchDevice.__new__(TorchDevice)
    device._own = None
    device._torch = SimpleNamespace(
        cuda=SimpleNamespace(CUDAGraph=lambda: None, graph=lambda graph, **options: contextlib.nullcontext())
    )

    def fail() -> None:
        raise error

    with pytest.raises(CaptureRefused, match=str(error)):
        device.captured(fail)
