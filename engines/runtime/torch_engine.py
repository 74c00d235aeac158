"""PyTorch, on an NVIDIA GPU where TensorRT cannot be installed: the engine's own ONNX graph as a module of torch.

Weights come from the graph (`engines/torch_graph/`), so the engines that ship and whatever `engines export` wrote can
be served, and no checkpoint is needed. The network calculates in fp16 on tensor cores, the rest (logits, masks) in fp32
as the graph says; it is captured as one CUDA graph around buffers that keep their addresses. With
`SEGSTREAM_TORCH_COMPILE=1` torch compiles it first, which takes minutes. The trap: threads and TF32 belong to the
process, not to an engine.

Not yet run on a GPU: the same code is run on the CPU by the conformance suite (`torch_cpu`), capture and streams with
fakes.
"""

import contextlib
import ctypes
import functools
import importlib.util
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from engines.errors import EngineError, EngineMismatch
from engines.kernels import is_interpreted
from engines.kernels import unavailable_reason as kernels_reason
from engines.machine import nvidia_reason
from engines.runtime.checked import GPU_BATCH, Array, CheckedEngine
from engines.runtime.device import CaptureRefused, DeviceBuffer, DeviceGraph, TorchDevice
from engines.runtime.graph_facts import check_contract
from engines.runtime.host_device import HostDevice
from engines.runtime.resident import Resident
from engines.spec import INPUT_NAME

if TYPE_CHECKING:
    from engines.torch_graph.module import Arithmetic

__all__ = ["COMPILE_VARIABLE", "TorchCpuEngine", "TorchCudaEngine"]

COMPILE_VARIABLE = "SEGSTREAM_TORCH_COMPILE"
TENSOR_CORES = (7, 0)
"""Compute capability from which fp16 is faster than fp32."""
BF16_CORES = (8, 0)
WARM_UPS = 3
"""Before a capture: cuDNN chooses its kernels, and allocates their workspaces, in the first calls."""


@dataclass
class _Held:
    """What an open engine holds."""

    device: TorchDevice | HostDevice
    module: Any = None
    arithmetic: "Arithmetic" = "fp32"
    buffers: dict[str, DeviceBuffer] = field(default_factory=dict)
    planes: dict[str, Any] = field(default_factory=dict)
    """The buffers as tensors of their type and shape, for as many pictures as a call may have."""
    graphs: dict[int, DeviceGraph] = field(default_factory=dict)
    """For each number of pictures."""
    can_capture: bool = True
    n_threads_before: int = 0

    def free(self) -> None:
        """Everything, once; safe after opening failed half way."""
        graphs, buffers = list(self.graphs.values()), list(self.buffers.values())
        self.graphs, self.module, self.buffers, self.planes = {}, None, {}, {}
        with contextlib.ExitStack() as last_first:
            last_first.callback(self.device.close)
            for buffer in reversed(buffers):
                last_first.callback(buffer.free)
            for graph in graphs:
                last_first.callback(graph.free)


class TorchCpuEngine(CheckedEngine):
    """PyTorch on the CPU, in the graph's own precision: for comparisons; `auto` never takes it.

    See `CheckedEngine` for the arguments. Calls from several threads take turns: `throughput` is treated as `latency`.
    """

    title: ClassVar[str] = "PyTorch"

    _held: _Held | None = None

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """Why torch cannot be used here, None when it can. Imports nothing."""
        missing = [name for name in ("torch", "onnx") if importlib.util.find_spec(name) is None]
        if not missing:
            return None
        return f"{' and '.join(missing)} not installed; pip install 'segstream[gpu]'"

    def _open(self) -> None:
        import torch

        from engines.torch_graph.module import graph_facts, load_graph

        self._turn = threading.Lock()
        graph = load_graph(self.spec.path)
        check_contract(self.spec, graph_facts(graph), self.outputs)
        with (
            self._told()
        ):  # the device too: torch meets a busy GPU there, and `auto` goes on only after an error of ours
            held = self._held = _Held(self._device())
            how = self._warmed(held, graph)
        version = ".".join(torch.__version__.split(".")[:2])
        own = self.spec.precision if held.arithmetic == "fp32" else held.arithmetic
        if any(node.op_type == "QuantizeLinear" for node in graph.graph.node):
            own = f"int8 emulated in {held.arithmetic}"
        self.backend = f"{self.title} {version} {own}{how}"

    def _warmed(self, held: _Held, graph: Any) -> str:
        """Buffers, the module in the first arithmetic that is good enough, and the capture."""
        self._prepare(held)
        for name, (one, dtype) in {INPUT_NAME: self._input, **self._expected}.items():
            shape = (self.max_batch, *one[1:])
            buffer = held.buffers[name] = held.device.allocate(int(np.prod(shape)) * dtype.itemsize)
            held.planes[name] = _plane(buffer, shape, dtype)
        for arithmetic in self._arithmetics():
            held.arithmetic = arithmetic
            if self._serves(held, graph):
                break
        else:
            raise EngineMismatch(f"{self.spec.path}: what torch calculates is not finite; take backend onnxruntime")
        self._capture(held, self.max_batch)
        if held.graphs:
            held.graphs[self.max_batch].launch()
            held.device.wait()
        return self._where(held)

    def _run(self, image_bgr: Array, outputs: Mapping[str, Array]) -> None:
        held = self._held
        assert held is not None, "checked by infer()"
        with self._turn, self._told():  # one set of buffers
            held.device.upload(held.buffers[INPUT_NAME], image_bgr)
            self._launch(held, len(image_bgr))
            for name, buffer in outputs.items():
                held.device.download(buffer, held.buffers[name])
            held.device.wait()

    def _close(self) -> None:
        held, self._held = self._held, None
        self.backend = self.title
        if held is not None:
            self._restore(held)
            held.free()

    @classmethod
    def lends_buffers(cls) -> bool:
        """On the CPU only where kernels run there too: for tests."""
        return is_interpreted()

    def resident(self) -> Resident | None:
        return self._buffers() if self.lends_buffers() else None

    def _buffers(self) -> Resident | None:
        held = self._held
        if held is None:
            return None

        def launch() -> None:
            self._launch(held, 1)

        return Resident(held.device, held.buffers, launch, functools.partial(self._lost, at_work=True))

    # -- what differs between CPU and GPU

    def _device(self) -> TorchDevice | HostDevice:
        return HostDevice()

    def _prepare(self, held: _Held) -> None:
        import torch

        held.n_threads_before = torch.get_num_threads()
        torch.set_num_threads(self.n_threads)

    def _restore(self, held: _Held) -> None:
        import torch

        if held.n_threads_before:
            torch.set_num_threads(held.n_threads_before)

    def _arithmetics(self) -> Iterator["Arithmetic"]:
        """What to try, in this order, until all that comes out is finite."""
        yield "fp32"

    def _place(self, module: Any) -> Any:
        return module

    def _where(self, held: _Held) -> str:
        """What a person should know of how it is run."""
        del held
        return f", {self.n_threads} thread" + ("s" if self.n_threads > 1 else "")

    # -- the same for both

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            said = " ".join(str(error).split())[:300]
            raise EngineError(f"{self.spec.label}: torch failed ({said})") from error

    def _serves(self, held: _Held, graph: Any) -> bool:
        """Load the module and run it; False when its numbers do not fit the arithmetic."""
        from engines.torch_graph.module import module_of

        try:
            held.module = self._place(module_of(graph, self.outputs, held.arithmetic, self.spec.path))
        except EngineMismatch:
            if held.arithmetic == "fp32":
                raise
            return False  # a weight beyond fp16
        noise = np.random.default_rng(0).integers(0, 256, (self.max_batch, *self._input[0][1:]), dtype=np.uint8)
        held.device.upload(held.buffers[INPUT_NAME], noise)
        self._warm(held, self.max_batch)
        return self._is_finite(held)

    def _warm(self, held: _Held, n: int) -> None:
        for _ in range(WARM_UPS):
            held.device.run(lambda: self._calculate(held, n))
        held.device.wait()

    def _launch(self, held: _Held, n: int) -> None:
        if n not in held.graphs and held.can_capture:
            self._warm(held, n)
            self._capture(held, n)
        if n in held.graphs:
            held.graphs[n].launch()
        else:
            held.device.run(lambda: self._calculate(held, n))

    def _capture(self, held: _Held, n: int) -> None:
        try:
            held.graphs[n] = held.device.captured(lambda: self._calculate(held, n))
        except CaptureRefused:
            held.can_capture = False

    def _calculate(self, held: _Held, n: int) -> None:
        import torch

        with torch.inference_mode(), self._exactness():
            for name, value in zip(self.outputs, held.module(held.planes[INPUT_NAME][:n]), strict=True):
                held.planes[name][:n].copy_(value)

    def _exactness(self) -> Any:
        """Around the calculation: whether fp32 may be rounded."""
        return contextlib.nullcontext()

    def _is_finite(self, held: _Held) -> bool:
        import torch

        floats = [plane for plane in held.planes.values() if plane.is_floating_point()]
        return all(bool(torch.isfinite(plane).all()) for plane in floats)


class TorchCudaEngine(TorchCpuEngine):
    """PyTorch on an NVIDIA GPU, in fp16 where it has tensor cores, as one CUDA graph.

    See `CheckedEngine` for the arguments. `n_threads` and `hint` mean nothing here; `precision_hint="f32"` keeps the
    graph's own precision and forbids TF32.
    """

    on_gpu: ClassVar[bool] = True
    usual_batch: ClassVar[int] = GPU_BATCH

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """No driver, no torch, or one without CUDA; None when all is there. Imports torch where there is a driver."""
        reason = nvidia_reason() or super().unavailable_reason()
        if reason is not None:
            return reason
        try:
            import torch
        except (ImportError, OSError) as error:  # the latter: a library that torch needs is missing
            return f"torch cannot be imported ({error}); pip install 'segstream[gpu]'"
        if torch.version.cuda is None:
            return (
                f"torch {torch.__version__} has no CUDA; pip install a build of torch with CUDA (pytorch.org says how)"
            )
        if not torch.cuda.is_available():
            return f"torch finds no GPU for its CUDA {torch.version.cuda}; install a newer NVIDIA driver"
        return None

    @classmethod
    def lends_buffers(cls) -> bool:
        """Where kernels can run on the same GPU."""
        return kernels_reason() is None and not is_interpreted()

    def _lent(self) -> Resident | None:
        return self._buffers()

    def _device(self) -> TorchDevice | HostDevice:
        return TorchDevice(0)

    def _prepare(self, held: _Held) -> None:
        """Nothing: a GPU has no threads to share."""

    def _restore(self, held: _Held) -> None:
        """Nothing was set."""

    def _arithmetics(self) -> Iterator["Arithmetic"]:
        import torch

        if self.precision_hint == "auto" and self.spec.precision == "fp32":
            capability = torch.cuda.get_device_capability(0)
            if capability >= TENSOR_CORES:
                yield "fp16"
            if capability >= BF16_CORES:
                yield "bf16"  # reaches as far as fp32, where a network leaves fp16's numbers
        yield "fp32"

    def _place(self, module: Any) -> Any:
        import torch

        placed = module.to("cuda:0")
        if os.environ.get(COMPILE_VARIABLE, "") in {"", "0"}:
            return placed
        # Without its own CUDA graphs: we capture, around buffers that we know.
        return torch.compile(placed, mode="max-autotune-no-cudagraphs", fullgraph=True, dynamic=False)

    def _where(self, held: _Held) -> str:
        import torch

        how = "" if held.can_capture else ", without a CUDA graph"
        return f" on {torch.cuda.get_device_name(0)}{how}"

    def _exactness(self) -> Any:
        import torch

        is_loose = self.precision_hint == "auto"
        exact = contextlib.ExitStack()
        exact.enter_context(torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=is_loose))
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = is_loose
        exact.callback(setattr, torch.backends.cuda.matmul, "allow_tf32", before)
        return exact


def _plane(buffer: DeviceBuffer, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Any:
    """The buffer as a tensor: torch's own where it has the memory, else over the address."""
    import torch

    flat = getattr(buffer, "tensor", None)
    if flat is None:
        memory = (ctypes.c_uint8 * buffer.n_bytes).from_address(buffer.address)
        flat = torch.from_numpy(np.frombuffer(memoryview(memory), np.uint8))
    return flat.view(getattr(torch, dtype.name)).view(shape)
