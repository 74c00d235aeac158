"""TensorRT on an NVIDIA GPU: a plan that `engines build` made, named inputs and outputs, one stream, one CUDA graph.

Device buffers are made when the engine opens and keep their addresses, so what TensorRT queues for a call is captured
once for each number of pictures and launched from then on as one call; around it go the copies from and to the
caller's buffers. Each number of pictures has an execution context of its own, as NVIDIA's documentation on CUDA graphs
advises; all share one memory for activations, which one stream keeps apart. The trap: all outputs of a plan need an
address, also those that nobody asked for; only those asked for are copied back.

This has not been run on a GPU. Order of calls, ownership and refusals are tested with a `trt` and a device that take
notes.
"""

import contextlib
import functools
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from engines.errors import BackendUnavailable, EngineError, EngineMismatch, InputSizeError
from engines.kernels import is_interpreted
from engines.kernels import unavailable_reason as kernels_reason
from engines.machine import nvidia_reason
from engines.plans.cache import Plan
from engines.plans.choose import plan_for
from engines.plans.gpu import Gpu, gpu_here
from engines.plans.library import Library, dtype_name, find_library, library_reason
from engines.plans.network import Log, check_promise, make_log, started
from engines.runtime.checked import GPU_BATCH, Array, CheckedEngine, PrecisionHint
from engines.runtime.device import CaptureRefused, Device, DeviceBuffer, DeviceGraph, device_reason, open_device
from engines.runtime.graph_facts import GraphFacts
from engines.runtime.resident import Resident
from engines.spec import INPUT_NAME, EngineSpec

__all__ = ["TensorRtEngine", "TensorRtRtxEngine"]


@dataclass
class _Held:
    """What an open engine holds, in the order in which it came; it goes in the opposite order."""

    device: Device
    log: Log
    logger: Any
    runtime: Any = None
    engine: Any = None
    contexts: dict[int, Any] = field(default_factory=dict)
    """For each number of pictures, its shape told."""
    scratch: DeviceBuffer | None = None
    """What all contexts of an open graph calculate in; a fixed graph's one context has its own."""
    buffers: dict[str, DeviceBuffer] = field(default_factory=dict)
    graphs: dict[int, DeviceGraph] = field(default_factory=dict)
    """For each number of pictures; none where the device refuses."""

    def free(self) -> None:
        """Everything, once; safe after opening failed half way."""
        graphs, buffers = list(self.graphs.values()), list(self.buffers.values())
        buffers += [self.scratch] if self.scratch is not None else []
        self.graphs, self.buffers, self.scratch = {}, {}, None
        with contextlib.ExitStack() as last_first:  # goes on when one of them fails, and raises it at the end
            last_first.callback(self.device.close)
            for buffer in reversed(buffers):
                last_first.callback(buffer.free)
            last_first.callback(self._forget_natives)
            for graph in graphs:
                last_first.callback(graph.free)

    def _forget_natives(self) -> None:
        self.contexts = {}  # pybind objects: the last reference frees
        self.engine = self.runtime = None


class TensorRtEngine(CheckedEngine):
    """A TensorRT plan on an NVIDIA GPU; `engines build` makes the plan.

    See `CheckedEngine` for the arguments. `n_threads` and `hint` mean nothing here; `precision_hint="f32"` asks for a
    plan that was built without TF32.
    """

    title: ClassVar[str] = "TensorRT"
    on_gpu: ClassVar[bool] = True
    usual_batch: ClassVar[int] = GPU_BATCH
    library_name: ClassVar[str] = "tensorrt"

    _held: _Held | None = None
    _user_managed: Any = None

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """No driver, no library, or nothing to hold device memory with; None when all three are there."""
        return nvidia_reason() or library_reason(cls.library_name) or device_reason()

    @classmethod
    def missing_reason(cls, spec: EngineSpec, precision_hint: PrecisionHint = "auto") -> str | None:
        """Why there is no plan of this graph for this GPU; None when there is one."""
        try:
            _plan(spec, find_library(cls.library_name), _gpu(), precision_hint)
        except (BackendUnavailable, EngineMismatch) as error:
            return str(error)
        return None

    def _open(self) -> None:
        library, gpu = find_library(self.library_name), _gpu()
        plan = _plan(self.spec, library, gpu, self.precision_hint, self.max_batch)
        self.why = "; ".join(filter(None, (self.why, *plan.passed_over)))
        data = plan.load()
        logger, log = make_log(library)
        held = self._held = _Held(open_device(), log, logger)
        self._turn = threading.Lock()
        held.runtime = started(library, "Runtime", logger, log)
        held.engine = held.runtime.deserialize_cuda_engine(data)
        if held.engine is None:
            raise _refused(plan, library, gpu, log)
        del data
        batches = plan.manifest.key.options.batches
        if batches is not None:
            self.max_batch = min(self.max_batch, batches.largest)
        shapes = self._shapes(library, held.engine)
        self._check_memory(held, shapes)
        for name, n_bytes in shapes.items():
            held.buffers[name] = held.device.allocate(n_bytes)
        if self.spec.any_batch:
            held.scratch = held.device.allocate(max(1, int(held.engine.device_memory_size_v2)))
            self._user_managed = library.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        try:
            how = self._warm(held)
        except InputSizeError as error:
            raise EngineMismatch(f"{plan.path}: {error}; {plan.remedy}") from error
        self.backend = f"{library.label} on {gpu.name}{how}"

    def _run(self, image_bgr: Array, outputs: Mapping[str, Array]) -> None:
        held = self._held
        assert held is not None, "checked by infer()"
        device = held.device
        with self._turn:  # a context is for one thread at a time
            device.upload(held.buffers[INPUT_NAME], image_bgr)
            graph = held.graphs.get(len(image_bgr))
            if graph is not None:
                graph.launch()
            else:
                self._enqueue(held, len(image_bgr))
            for name, buffer in outputs.items():
                device.download(buffer, held.buffers[name])
            device.wait()

    @classmethod
    def lends_buffers(cls) -> bool:
        """Where kernels can run on the same GPU; they need torch and triton, TensorRT does not."""
        return kernels_reason() is None and not is_interpreted()

    def resident(self) -> Resident | None:
        return self._lent() if self.lends_buffers() else None

    def _lent(self) -> Resident | None:
        held = self._held
        if held is None:
            return None

        def launch() -> None:
            graph = held.graphs.get(1)
            if graph is not None:
                graph.launch()
            else:
                self._enqueue(held, 1)

        return Resident(held.device, held.buffers, launch, functools.partial(self._lost, at_work=True))

    def _close(self) -> None:
        held, self._held = self._held, None
        self.backend = self.title
        if held is not None:
            held.free()

    def _shapes(self, library: Library, engine: Any) -> dict[str, int]:
        """Bytes of every input and output for as many pictures as a call may have; all are what was promised."""
        inputs: dict[str, tuple[str, tuple[int | None, ...]]] = {}
        outputs: dict[str, tuple[str, tuple[int | None, ...]]] = {}
        n_bytes = {}
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            shape = tuple(None if side < 0 else int(side) for side in engine.get_tensor_shape(name))
            dtype = dtype_name(engine.get_tensor_dtype(name))
            is_input = engine.get_tensor_mode(name) == library.trt.TensorIOMode.INPUT
            (inputs if is_input else outputs)[name] = (dtype, shape)
        check_promise(self.spec, GraphFacts(inputs, outputs, {}))
        for name, (dtype, shape) in (inputs | outputs).items():
            sides = [self.max_batch if side is None else side for side in shape]
            n_bytes[name] = int(np.prod(sides)) * np.dtype(dtype).itemsize
        return n_bytes

    def _check_memory(self, held: _Held, shapes: Mapping[str, int]) -> None:
        """Before anything is allocated, because the context's own failure names no figure."""
        wanted = int(held.engine.device_memory_size_v2) + sum(shapes.values())
        free = held.device.free_bytes()
        if wanted > free:
            raise EngineError(
                f"{self.spec.label} wants {wanted / 1e6:.0f} MB of device memory, {free / 1e6:.0f} MB are free; close "
                "other programs that use the GPU, or take a smaller size or batch"
            )

    def _warm(self, held: _Held) -> str:
        """Once as it is, so that everything lazy is done; then captured. Returns what a person should know."""
        held.device.upload(held.buffers[INPUT_NAME], self._blank_image(self.max_batch))
        for batch in range(1, self.max_batch + 1) if self.spec.any_batch else (self.spec.batch,):
            self._enqueue(held, batch)
            held.device.wait()
            try:
                graph = held.graphs[batch] = held.device.captured(functools.partial(self._enqueue, held, batch))
            except CaptureRefused:
                return ", without a CUDA graph"
            graph.launch()
            held.device.wait()
        return ""

    def _enqueue(self, held: _Held, batch: int) -> None:
        context = held.contexts.get(batch)
        if context is None:
            context = held.contexts[batch] = self._context(held, batch)
        if not context.execute_async_v3(held.device.stream):
            raise EngineError(f"{self.spec.label}: {self.title} failed ({held.log.last_error})")

    def _context(self, held: _Held, batch: int) -> Any:
        """One for that many pictures, with the shape told and every buffer's address."""
        scratch = held.scratch
        how = () if scratch is None else (self._user_managed,)
        context = held.engine.create_execution_context(*how)
        if context is None:
            raise EngineError(
                f"{self.spec.label}: no execution context ({held.log.last_error}); is the device memory full?"
            )
        if scratch is not None:
            context.set_device_memory(scratch.address, scratch.n_bytes)
            shape = (batch, *self._input[0][1:])
            if not context.set_input_shape(INPUT_NAME, shape):
                raise InputSizeError(f"the plan does not take {shape} ({held.log.last_error})")
        for name, buffer in held.buffers.items():
            context.set_tensor_address(name, buffer.address)
        return context


class TensorRtRtxEngine(TensorRtEngine):
    """The same by TensorRT-RTX, whose plans were built anywhere; it compiles kernels when it opens one."""

    title: ClassVar[str] = "TensorRT-RTX"
    library_name: ClassVar[str] = "tensorrt_rtx"


def _gpu() -> Gpu:
    gpu, reason = gpu_here()
    if gpu is None:
        raise BackendUnavailable(f"{reason}; install NVIDIA's driver, or run with --backend auto")
    return gpu


def _plan(spec: EngineSpec, library: Library, gpu: Gpu, precision_hint: PrecisionHint, batch: int = 1) -> Plan:
    return plan_for(spec, library, gpu, tf32=precision_hint != "f32", is_dynamic=spec.any_batch, batch=batch)


def _refused(plan: Plan, library: Library, gpu: Gpu, log: Log) -> EngineError:
    """Why a plan whose bytes are right is not opened: the GPU, the driver, the version. What it said decides."""
    said = " ".join(log.said).lower()
    where = f"{plan.path}: {library.label} does not open it on {gpu.label}"
    if log.is_driver_too_old:
        return BackendUnavailable(
            f"{where}: the driver is too old, it knows CUDA {gpu.driver_cuda}; install a newer driver, or run with "
            "--backend auto"
        )
    if "compute capability" in said or "unsupported_cc" in said or "unsupported sm" in said:
        return EngineMismatch(f"{where}: it was built for another compute capability ({log.last_error}); {plan.remedy}")
    if "version" in said or "serialization" in said:
        return EngineMismatch(f"{where}: it was built with another version ({log.last_error}); {plan.remedy}")
    if "memory" in said:
        wanted = plan.manifest.facts.activation_bytes or 0
        return EngineError(
            f"{where}: too little device memory, {(wanted + plan.manifest.plan_bytes) / 1e6:.0f} MB and more are "
            f"wanted ({log.last_error}); close other programs that use the GPU"
        )
    return EngineMismatch(f"{where} ({log.last_error}); {plan.remedy}")
