"""A GPU that takes notes, and a TensorRT for it: what the backend does can be read, and what it computes be checked.

Nothing queued is done before `wait`, as on a real device, so a buffer that is read too early shows. The plan is the
tiny graph of `tests.engines.runtime.graphs`, calculated with NumPy.
"""

from collections.abc import Callable
from enum import Enum
from typing import Any

import numpy as np
import pytest

from engines.errors import EngineError
from engines.plans.library import LIBRARIES, Library
from engines.runtime import tensorrt_engine
from engines.runtime.checked import Array
from engines.runtime.device import CaptureRefused, DeviceBuffer
from engines.runtime.tensorrt_engine import TensorRtEngine
from engines.spec import EngineSpec
from tests.engines.plans.worlds import ADA
from tests.engines.runtime.graphs import analytic_alpha, analytic_logits


class NotedDevice:
    """See `engines.runtime.device.Device`; one stream, whose work is done when it is waited for."""

    stream = 77

    def __init__(self, free: int = 1 << 30, refuses_capture: bool = False) -> None:
        self.notes: list[str] = []
        self.memory: dict[int, Array] = {}
        self.queue: list[Callable[[], None]] = []
        self.locked: list[int] = []
        self._free, self._refuses_capture = free, refuses_capture
        self.capturing: list[Callable[[], None]] | None = None

    def free_bytes(self) -> int:
        return self._free

    def allocate(self, n_bytes: int) -> DeviceBuffer:
        address = 4096 * (len(self.memory) + 1)
        self.memory[address] = np.zeros(n_bytes, np.uint8)
        self.notes.append(f"allocate {n_bytes}")
        return DeviceBuffer(address, n_bytes, lambda: self._give_back(address))

    def upload(self, buffer: DeviceBuffer, array: Array) -> None:
        self.notes.append("upload")
        self.enqueue(lambda: np.copyto(self.memory[buffer.address][: array.nbytes], array.reshape(-1).view(np.uint8)))

    def download(self, array: Array, buffer: DeviceBuffer) -> None:
        self.notes.append(f"download {array.dtype}")
        self.enqueue(lambda: np.copyto(array.reshape(-1).view(np.uint8), self.memory[buffer.address][: array.nbytes]))

    def copy(self, to: DeviceBuffer, source: DeviceBuffer) -> None:
        self.notes.append("copy")
        self.enqueue(lambda: np.copyto(self.memory[to.address], self.memory[source.address][: to.n_bytes]))

    def mark(self) -> "NotedMark":
        return NotedMark(self)

    def after(self, mark: "NotedMark") -> None:
        self.notes.append("after")

    def another(self) -> "NotedDevice":
        return self

    def lock(self, address: int, n_bytes: int) -> None:
        self.notes.append(f"lock {n_bytes}")
        self.locked.append(address)

    def unlock(self, address: int) -> None:
        self.notes.append("unlock")
        self.locked.remove(address)

    def captured(self, work: Callable[[], None]) -> "NotedGraph":
        self.notes.append("capture")
        if self._refuses_capture:
            raise CaptureRefused("this work cannot be captured")
        self.capturing = []
        try:
            work()
            return NotedGraph(self, self.capturing)
        finally:
            self.capturing = None

    def wait(self) -> None:
        self.notes.append("wait")
        queue, self.queue = self.queue, []
        for work in queue:
            work()

    def close(self) -> None:
        self.notes.append("close")

    def enqueue(self, work: Callable[[], None]) -> None:
        """On the stream, or into the graph that is being captured."""
        (self.queue if self.capturing is None else self.capturing).append(work)

    def _give_back(self, address: int) -> None:
        del self.memory[address]
        self.notes.append("free")


class NotedMark:
    """A mark of the one stream there is."""

    def __init__(self, device: NotedDevice) -> None:
        self._device = device

    def record(self) -> None:
        self._device.notes.append("record")

    def wait(self) -> None:
        self._device.wait()

    def free(self) -> None:
        self._device.notes.append("free mark")


class NotedGraph:
    """Captured work."""

    def __init__(self, device: NotedDevice, work: list[Callable[[], None]]) -> None:
        self._device, self._work = device, work

    def launch(self) -> None:
        self._device.notes.append("launch")
        self._device.queue.extend(self._work)

    def free(self) -> None:
        self._device.notes.append("forget graph")


class DataType(Enum):
    """As TensorRT calls them."""

    UINT8 = 1
    FLOAT = 2
    HALF = 3


class TensorIOMode(Enum):
    """As TensorRT calls them."""

    INPUT = 1
    OUTPUT = 2


class ExecutionContextAllocationStrategy(Enum):
    """As TensorRT calls them."""

    STATIC = 0
    USER_MANAGED = 2


class Severity(Enum):
    """As TensorRT calls them."""

    ERROR = 1
    WARNING = 2


class NotedTrt:
    """Stands for the module `tensorrt`, with what running needs and nothing else: any other name is an AttributeError.

    Args:
        refusal: what the library says when it will not open a plan; None: it opens it.
        no_start: what it logs, and with which severity, before its bindings raise TypeError; None: it starts.
        planes: instead of the spec's own: name to (type, shape).
        fails_from: the inference, counted from 0, from which TensorRT fails.
        failure: what it logs then.
    """

    __version__ = "10.16.1.11"
    TensorIOMode = TensorIOMode
    ExecutionContextAllocationStrategy = ExecutionContextAllocationStrategy

    class ILogger:
        """The base of a logger."""

    def __init__(
        self,
        spec: EngineSpec,
        device: NotedDevice,
        *,
        refusal: str | None = None,
        no_start: tuple[Severity, str] | None = None,
        planes: dict[str, tuple[DataType, tuple[int, ...]]] | None = None,
        fails_from: int | None = None,
        failure: str = "Error Code 1: Myelin (no kernel for this shape)",
        wants_bytes: int = 1000,
    ) -> None:
        self.spec, self.device, self.refusal, self.fails_from = spec, device, refusal, fails_from
        self.wants_bytes, self.n_inferences, self.no_start = wants_bytes, 0, no_start
        self.failure = failure
        self.opened: list[bytes] = []
        types = {"uint8": DataType.UINT8, "float32": DataType.FLOAT}
        self.planes = planes or {
            "image_bgr": (DataType.UINT8, spec.input.shape(spec.batch)),
            **{name: (types[spec.output_dtype(name)], spec.output_shape(name)) for name in spec.output.names},
        }

    def Runtime(self, logger: Any) -> "NotedRuntime":
        """`trt.Runtime(logger)`."""
        if self.no_start is not None:
            logger.log(*self.no_start)
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return NotedRuntime(self, logger)


class NotedRuntime:
    """Opens any bytes."""

    def __init__(self, trt: NotedTrt, logger: Any) -> None:
        self._trt, self._logger = trt, logger

    def deserialize_cuda_engine(self, data: bytes) -> "NotedEngine | None":
        self._trt.opened.append(data)
        if self._trt.refusal is None:
            return NotedEngine(self._trt, self._logger)
        self._logger.log(Severity.ERROR, self._trt.refusal)
        return None


class NotedEngine:
    """Named tensors."""

    def __init__(self, trt: NotedTrt, logger: Any) -> None:
        self._trt, self._logger = trt, logger
        self.num_io_tensors = len(trt.planes)
        self.device_memory_size_v2 = trt.wants_bytes

    def get_tensor_name(self, index: int) -> str:
        return list(self._trt.planes)[index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._trt.planes[name][1]

    def get_tensor_dtype(self, name: str) -> DataType:
        return self._trt.planes[name][0]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name == "image_bgr" else TensorIOMode.OUTPUT

    def create_execution_context(
        self, strategy: ExecutionContextAllocationStrategy = ExecutionContextAllocationStrategy.STATIC
    ) -> "NotedContext":
        self._trt.device.notes.append(f"context {strategy.name}")
        return NotedContext(self._trt, self._logger, has_memory=strategy is ExecutionContextAllocationStrategy.STATIC)


class NotedContext:
    """Calculates the tiny graph in device memory, when its turn on the stream comes."""

    def __init__(self, trt: NotedTrt, logger: Any, *, has_memory: bool) -> None:
        self._trt, self._logger, self._has_memory = trt, logger, has_memory
        self._is_captured = False
        self._addresses: dict[str, int] = {}
        self._n = trt.planes["image_bgr"][1][0]

    def set_device_memory(self, memory: int, size: int) -> None:
        assert len(self._trt.device.memory[memory]) == size >= self._trt.wants_bytes
        self._trt.device.notes.append(f"activations at {memory}")
        self._has_memory = True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert not self._is_captured, "what was captured belongs to the shape that it was captured with"
        self._trt.device.notes.append(f"shape {shape}")
        self._n = shape[0]
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        trt, device = self._trt, self._trt.device
        assert stream_handle == device.stream
        assert set(self._addresses) == set(trt.planes), "TensorRT needs an address of every output"
        assert self._has_memory, "a context whose memory is the user's needs it"
        self._is_captured = self._is_captured or device.capturing is not None
        device.notes.append("execute")
        if trt.fails_from is not None and trt.n_inferences >= trt.fails_from:
            self._logger.log(Severity.ERROR, trt.failure)
            return False
        trt.n_inferences += 1
        n = self._n
        assert n > 0, "TensorRT needs the shape of an input whose batch axis is open"
        device.enqueue(lambda: self._calculate(n))
        return True

    def _calculate(self, n: int) -> None:
        memory, spec = self._trt.device.memory, self._trt.spec
        shape = spec.input.shape(n)
        image_bgr = memory[self._addresses["image_bgr"]][: int(np.prod(shape))].reshape(shape)
        alpha = analytic_alpha(image_bgr)
        answers: dict[str, Array] = {"logits": analytic_logits(image_bgr), "alpha": alpha, "labels": alpha // 255}
        for name in spec.output.names:
            answer = np.ascontiguousarray(answers[name]).reshape(-1).view(np.uint8)
            np.copyto(memory[self._addresses[name]][: len(answer)], answer)


class NoMemoryDevice(NotedDevice):
    """Has free memory, and gives none."""

    def allocate(self, n_bytes: int) -> DeviceBuffer:
        raise EngineError(f"{n_bytes / 1e6:.0f} MB of device memory are wanted")


def noted_engine(
    monkeypatch: pytest.MonkeyPatch, spec: EngineSpec, device: NotedDevice | None = None, **facts: Any
) -> tuple[TensorRtEngine, NotedTrt, NotedDevice]:
    """An engine that is not open yet, on a machine that has this device and its TensorRT.

    Args:
        facts: for the engine `outputs` and `max_batch`, the rest for `NotedTrt`.
    """
    device = device or NotedDevice()
    options = {name: facts.pop(name) for name in ("outputs", "max_batch") if name in facts}
    trt = NotedTrt(spec, device, **facts)
    library = Library(LIBRARIES["tensorrt"], trt)
    for reason in ("nvidia_reason", "library_reason", "device_reason"):
        monkeypatch.setattr(tensorrt_engine, reason, lambda *_: None)
    monkeypatch.setattr(tensorrt_engine, "gpu_here", lambda: (ADA, ""))
    monkeypatch.setattr(tensorrt_engine, "find_library", lambda _name: library)
    monkeypatch.setattr(tensorrt_engine, "open_device", lambda: device)
    return TensorRtEngine(spec, **options), trt, device
