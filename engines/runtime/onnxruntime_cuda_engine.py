"""ONNX Runtime on an NVIDIA GPU: for machines that have neither TensorRT nor torch.

Everything is bound once: input and outputs are device buffers that keep their addresses, work is queued on our own
stream, and the runtime is told not to synchronise; the one wait is ours. The traps: asked for CUDA, ONNX Runtime takes
the CPU without a word when CUDA's libraries do not load; and a CUDA graph is refused as soon as one operator has no
kernel for the GPU, so the session is opened a second time without.

Not yet run on a GPU: the binding is tested with the CPU provider over host memory, the rest with fakes.
"""

import functools
import threading
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from engines.errors import BackendUnavailable, EngineError
from engines.machine import nvidia_reason
from engines.runtime.checked import GPU_BATCH, Array, CheckedEngine
from engines.runtime.device import Device, DeviceBuffer, device_reason, open_device
from engines.runtime.graph_facts import check_contract
from engines.runtime.onnxruntime_engine import load_session, session_facts, session_faults
from engines.runtime.resident import Resident
from engines.spec import INPUT_NAME

__all__ = ["OnnxRuntimeCudaEngine"]


class OnnxRuntimeCudaEngine(CheckedEngine):
    """ONNX Runtime on an NVIDIA GPU, in the graph's own precision.

    See `CheckedEngine` for the arguments. `n_threads` and `hint` mean nothing here; `precision_hint="f32"` forbids
    TF32.
    """

    title: ClassVar[str] = "ONNX Runtime CUDA"
    on_gpu: ClassVar[bool] = True
    usual_batch: ClassVar[int] = GPU_BATCH
    provider: ClassVar[str] = "CUDAExecutionProvider"
    place: ClassVar[str] = "cuda"
    """What the runtime calls the memory that is bound."""

    _device: Device | None = None
    _session: Any = None
    _binding: Any = None
    _n_bound: int = 0
    """Pictures a call that the buffers are bound for."""

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """No driver, no ONNX Runtime with CUDA, or nothing to hold device memory with; None when all are there."""
        return nvidia_reason() or _provider_reason(cls.provider) or device_reason()

    def _open(self) -> None:
        import onnxruntime as ort

        self._turn = threading.Lock()
        self._buffers: dict[str, DeviceBuffer] = {}
        self._faults = session_faults()
        device = self._device = self._opened_device()
        for name, (shape, dtype) in self._planes().items():
            self._buffers[name] = device.allocate(self.max_batch * int(np.prod(shape[1:])) * dtype.itemsize)
        options = ort.RunOptions()
        options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        self._run_options = options
        is_one_shape = self.max_batch == self.spec.batch  # the runtime's graph is of one shape
        try:
            self._start(has_graph=is_one_shape)
            how = "" if is_one_shape else ", without a CUDA graph"
        except BackendUnavailable:
            raise
        except EngineError:
            self._start(has_graph=False)
            how = ", without a CUDA graph"
        version = ".".join(ort.__version__.split(".")[:2])
        self.backend = f"{self.title} {version} {self.spec.precision}{how}"

    def _run(self, image_bgr: Array, outputs: Mapping[str, Array]) -> None:
        device = self._device
        assert device is not None, "checked by infer()"
        with self._turn:  # one set of buffers
            device.upload(self._buffers[INPUT_NAME], image_bgr)
            self._bind(len(image_bgr))
            self._queue()
            for name, buffer in outputs.items():
                device.download(buffer, self._buffers[name])
            device.wait()

    def _lent(self) -> Resident | None:
        device = self._device
        if device is None:
            return None

        def launch() -> None:
            self._bind(1)
            self._queue()

        return Resident(device, self._buffers, launch, functools.partial(self._lost, at_work=True))

    def _close(self) -> None:
        device, self._device = self._device, None
        self._session = self._binding = None
        self.backend = self.title
        if device is not None:
            for buffer in self._buffers.values():
                buffer.free()
            self._buffers = {}
            device.close()

    def _opened_device(self) -> Device:
        return open_device()

    def _start(self, *, has_graph: bool) -> None:
        """Open the session, bind everything, and run it until whatever is lazy is done."""
        device = self._device
        assert device is not None, "opened before"
        self._session = self._binding = None
        providers = [(self.provider, self._provider_options(device, has_graph))]
        session = load_session(self.spec.path, n_threads=1, optimise=True, providers=providers)
        if session.get_providers()[0] != self.provider:
            raise BackendUnavailable(
                f"{self.spec.label}: ONNX Runtime could not load CUDA and took {session.get_providers()[0]}; install "
                "the CUDA and cuDNN that this onnxruntime-gpu was built for (onnxruntime.ai lists them)"
            )
        check_contract(self.spec, session_facts(session), self.outputs)
        self._session, self._binding, self._n_bound = session, session.io_binding(), 0
        self._bind(self.max_batch)
        device.upload(self._buffers[INPUT_NAME], self._blank_image(self.max_batch))
        for _ in range(3):  # allocations, then the capture, then its first launch
            self._queue()
            device.wait()

    def _planes(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        return {INPUT_NAME: self._input, **self._expected}

    def _bind(self, n: int) -> None:
        """The buffers as planes of so many pictures; at the same addresses, whatever n is."""
        if n == self._n_bound:
            return
        for name, (shape, dtype) in self._planes().items():
            bind = self._binding.bind_input if name == INPUT_NAME else self._binding.bind_output
            bind(name, self.place, 0, dtype.type, (n, *shape[1:]), self._buffers[name].address)
        self._n_bound = n

    def _provider_options(self, device: Device, has_graph: bool) -> dict[str, str]:
        return {
            "device_id": "0",
            "user_compute_stream": str(device.stream),
            "enable_cuda_graph": "1" if has_graph else "0",
            "use_tf32": "0" if self.precision_hint == "f32" else "1",
        }

    def _queue(self) -> None:
        try:
            self._session.run_with_iobinding(self._binding, self._run_options)
        except self._faults as error:
            said = " ".join(str(error).split())[:300]
            raise EngineError(f"{self.spec.label}: ONNX Runtime failed ({said})") from error


def _provider_reason(provider: str) -> str | None:
    try:
        import onnxruntime as ort
    except ImportError as error:
        return f"onnxruntime cannot be imported ({error}); pip install onnxruntime-gpu"
    there = ort.get_available_providers()
    if provider in there:
        return None
    return (
        f"onnxruntime {ort.__version__} was built without CUDA (it has {', '.join(there)}); "
        "pip uninstall onnxruntime, then pip install onnxruntime-gpu"
    )
