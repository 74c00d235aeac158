"""OpenVINO on the CPU: the default. Only the outputs asked for are compiled.

Tensors are made over the caller's memory, one per address, and kept: slots come round again, so in
the steady state a call binds known tensors and allocates nothing. The trap: `ov.Tensor(array)` keeps
a reference and refuses read-only arrays. That would pin a slot's mapping and lock out readers, so
tensors are made over a bare address instead.
"""

import ctypes
import queue
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from engines.errors import BackendUnavailable, EngineError, EngineMismatch
from engines.runtime.checked import Array, CheckedEngine, address_of
from engines.runtime.graph_facts import GraphFacts, check_contract
from engines.spec import INPUT_NAME

__all__ = ["OpenVinoEngine", "load_model", "model_facts"]

MAX_TENSORS = 256
"""Of one request; beyond that the caller does not reuse its buffers and the oldest are let go."""


class OpenVinoEngine(CheckedEngine):
    """OpenVINO on the CPU, calculating in bf16 where the CPU has it; the default.

    See `CheckedEngine` for the arguments.
    """

    title: ClassVar[str] = "OpenVINO"

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """Why OpenVINO cannot be used here, None when it can. Imports it."""
        try:
            import openvino  # noqa: F401
        except ImportError as error:
            return f"openvino cannot be imported ({error}); pip install openvino"
        return None

    def _open(self) -> None:
        import openvino as ov

        model = load_model(self.spec.path)
        check_contract(self.spec, model_facts(model), self.outputs)
        if self.spec.any_batch:  # one picture a call: a fixed shape, which costs nothing beside a graph of that shape
            sides = (1, self.max_batch) if self.max_batch > 1 else 1
            model.reshape({INPUT_NAME: ov.PartialShape([sides, *self.spec.input.shape()[1:]])})
        wanted = ov.Model([model.output(name).get_node() for name in self.outputs], model.get_parameters(), "engine")
        is_live = self.hint == "latency"
        options: dict[str, Any] = {
            "PERFORMANCE_HINT": self.hint.upper(),
            "INFERENCE_NUM_THREADS": self.n_threads,
            # The other workers need the same cores, and a thread tied to one cannot step aside: beside two busy
            # processes on two cores the slowest of 60 inferences took 34 ms free and 45 ms pinned; medians are equal.
            "ENABLE_CPU_PINNING": False,
        }
        if is_live:
            options["NUM_STREAMS"] = 1
        if self.precision_hint == "f32":
            options["INFERENCE_PRECISION_HINT"] = "f32"
        try:
            compiled = ov.Core().compile_model(wanted, "CPU", options)
        except RuntimeError as error:
            raise EngineMismatch(f"{self.spec.path}: OpenVINO cannot compile it ({_line(error)})") from error
        n_requests = 1 if is_live else int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._requests: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        for _ in range(n_requests):
            request = _Request(compiled.create_infer_request(), self._blank_outputs(self.max_batch))
            for batch in dict.fromkeys((self.max_batch, self.spec.batch)):
                request.run(self._blank_image(batch), {})
            self._requests.put(request)
        version = ".".join(ov.__version__.split(".")[:2])
        arithmetic = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        arithmetic = {"bf16": "bf16", "f32": "fp32", "f16": "fp16"}.get(arithmetic, arithmetic)
        self.backend = f"{self.title} {version} {arithmetic}, {_threads(self.n_threads)}"

    def _run(self, image_bgr: Array, outputs: Mapping[str, Array]) -> None:
        request = self._requests.get()
        try:
            request.run(image_bgr, outputs)
        except RuntimeError as error:
            raise EngineError(f"{self.spec.label}: OpenVINO failed ({_line(error)})") from error
        finally:
            self._requests.put(request)

    def _close(self) -> None:
        self._requests = queue.SimpleQueue()
        self.backend = self.title


class _Request:
    """One inference at a time, with the tensors of the buffers it has seen."""

    def __init__(self, request: Any, scratch: dict[str, Array]) -> None:
        self._request = request
        self._scratch = scratch  # takes what is compiled but not asked for in this call
        self._bound: dict[str, tuple[int, int]] = {}
        self._tensors: dict[tuple[str, int, int], Any] = {}

    def run(self, image_bgr: Array, outputs: Mapping[str, Array]) -> None:
        self._bind(INPUT_NAME, image_bgr)
        for name, scratch in self._scratch.items():
            asked = outputs.get(name)
            self._bind(name, scratch[: len(image_bgr)] if asked is None else asked)
        self._request.infer(share_outputs=True)  # else it returns copies of all outputs

    def _bind(self, name: str, buffer: Array) -> None:
        address, batch = address_of(buffer), len(buffer)
        if self._bound.get(name) == (address, batch):
            return
        tensor = self._tensors.get((name, address, batch))
        if tensor is None:
            if len(self._tensors) >= MAX_TENSORS:
                self._tensors.pop(next(iter(self._tensors)))
            tensor = self._tensors[name, address, batch] = _tensor_at(address, buffer)
        self._request.set_tensor(name, tensor)
        self._bound[name] = (address, batch)


def load_model(path: Path) -> Any:
    """Read an ONNX file.

    Raises:
        BackendUnavailable: OpenVINO is not installed.
        EngineMismatch: the file is not an ONNX graph.
    """
    try:
        import openvino as ov
    except ImportError as error:
        raise BackendUnavailable(f"openvino cannot be imported ({error}); pip install openvino") from error
    try:
        return ov.Core().read_model(str(path))
    except RuntimeError as error:
        raise EngineMismatch(f"{path}: not an ONNX graph that OpenVINO can read ({_line(error)})") from error


def model_facts(model: Any) -> GraphFacts:
    """Names, types, shapes and metadata of a model."""
    key = "framework"  # where the ONNX front end keeps `metadata_props`
    told = model.get_rt_info(key).value if model.has_rt_info(key) else {}
    return GraphFacts(
        inputs={port.get_any_name(): _port(port) for port in model.inputs},
        outputs={port.get_any_name(): _port(port) for port in model.outputs},
        metadata={name: str(value) for name, value in told.items()},
    )


def _port(port: Any) -> tuple[str, tuple[int | None, ...]]:
    shape = tuple(None if side.is_dynamic else side.get_length() for side in port.get_partial_shape())
    return np.dtype(port.get_element_type().to_dtype()).name, shape


def _tensor_at(address: int, like: Array) -> Any:
    import openvino as ov

    memory = (ctypes.c_uint8 * like.nbytes).from_address(address)
    alias = np.frombuffer(memoryview(memory), np.uint8).view(like.dtype).reshape(like.shape)
    return ov.Tensor(alias, shared_memory=True)


def _threads(n_threads: int) -> str:
    return f"{n_threads} thread" + ("s" if n_threads > 1 else "")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
