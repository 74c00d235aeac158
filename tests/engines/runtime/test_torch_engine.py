"""PyTorch on a GPU, without one: the same engine over host memory that captures, and a GPU that is told to exist."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from engines.errors import DeviceLost, EngineError
from engines.names import resolve
from engines.runtime import torch_engine as module
from engines.runtime.host_device import HostDevice
from engines.runtime.torch_engine import TorchCudaEngine
from engines.spec import EngineSpec
from tests.engines.plans.worlds import dynamic_graph
from tests.engines.runtime.graphs import analytic_alpha, analytic_logits, write_engine, write_graph

pytestmark = pytest.mark.torch

WIDTH, HEIGHT = 64, 32


class CapturingDevice(HostDevice):
    """Notes what is done with it; captured work is done again at each launch."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def captured(self, work: Callable[[], None]) -> "CapturedWork":
        self.notes.append("capture")
        return CapturedWork(self, work)

    def run(self, work: Callable[[], None]) -> None:
        self.notes.append("run")
        work()

    def wait(self) -> None:
        self.notes.append("wait")


class CapturedWork:
    """A graph."""

    def __init__(self, device: CapturingDevice, work: Callable[[], None]) -> None:
        self._device, self._work = device, work

    def launch(self) -> None:
        self._device.notes.append("launch")
        self._work()

    def free(self) -> None:
        self._device.notes.append("free graph")


class ToldGpu(TorchCudaEngine):
    """The engine for a GPU, with everything of CUDA's on the host."""

    device: ClassVar[HostDevice]

    def _device(self) -> HostDevice:
        return self.device

    def _place(self, module: Any) -> Any:
        return module


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> CapturingDevice:
    """A device that can capture, of a GPU with tensor cores."""
    import torch

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "NVIDIA H200")
    ToldGpu.device = CapturingDevice()
    return ToldGpu.device


@pytest.fixture
def spec(tmp_path: Path) -> EngineSpec:
    """A small engine."""
    return resolve(write_engine(tmp_path, sizes=((WIDTH, HEIGHT),)))


def noise(seed: int, n: int = 1) -> Any:
    """(n, 32, 64, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (n, HEIGHT, WIDTH, 3), dtype=np.uint8)


def buffers(spec: EngineSpec, *names: str, n: int = 1) -> dict[str, Any]:
    """Filled with 77."""
    return {name: np.full((n, *spec.output_shape(name)[1:]), 77, spec.output_dtype(name)) for name in names}


def test_a_frame_is_one_launch_and_one_wait(device: CapturingDevice, spec: EngineSpec) -> None:
    """Opening warms and captures; from then on nothing is called but the graph, and the answer is the right one."""
    with ToldGpu(spec) as engine:
        device.notes.clear()
        for seed in range(2):
            image, out = noise(seed), buffers(spec, "logits", "alpha")
            engine.infer({"image_bgr": image}, out)

            assert np.array_equal(out["alpha"], analytic_alpha(image))
            np.testing.assert_allclose(out["logits"], analytic_logits(image), atol=0.01)  # fp16 below 16
        assert device.notes == ["launch", "wait"] * 2
        assert engine.backend.endswith("fp16 on NVIDIA H200")
    assert device.notes[-1] == "free graph"


def test_each_number_of_pictures_is_captured_once(device: CapturingDevice, tmp_path: Path) -> None:
    """A batch that comes for the first time is warmed and captured; the second time it is only launched."""
    path = dynamic_graph(write_graph(tmp_path / "fixed.onnx", WIDTH, HEIGHT), tmp_path / "open" / "tiny.onnx")
    spec = resolve(path)

    with ToldGpu(spec, max_batch=3) as engine:
        device.notes.clear()
        for n in (2, 3, 2):
            image, out = noise(n, n), buffers(spec, "alpha", n=n)
            engine.infer({"image_bgr": image}, out)
            assert np.array_equal(out["alpha"], analytic_alpha(image))

    assert device.notes[:8] == ["run", "run", "run", "wait", "capture", "launch", "wait", "launch"]
    assert device.notes.count("capture") == 1


@pytest.mark.parametrize(("capability", "arithmetic"), [((9, 0), "bf16"), ((7, 5), "fp32"), ((6, 1), "fp32")])
def test_numbers_beyond_half_precision_are_calculated_wider(
    device: CapturingDevice, spec: EngineSpec, monkeypatch: pytest.MonkeyPatch, capability: Any, arithmetic: str
) -> None:
    """A network that leaves fp16's numbers (65504) goes to bf16 where the GPU has it, else to fp32."""
    import torch

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
    graph = onnx.load(spec.path)
    slope = next(tensor for tensor in graph.graph.initializer if tensor.name == "slope")
    slope.CopyFrom(numpy_helper.from_array(np.array(60000, np.float32), "slope"))
    onnx.save(graph, spec.path)
    wide = EngineSpec(spec.name, spec.path, spec.input, spec.output, spec.palette, spec.precision)

    with ToldGpu(wide) as engine:
        assert f" {arithmetic} on NVIDIA H200" in engine.backend


def test_comparisons_keep_the_precision_of_the_graph(device: CapturingDevice, spec: EngineSpec) -> None:
    """With `f32` the logits are those calculated by hand, to the last digits."""
    with ToldGpu(spec, precision_hint="f32") as engine:
        image, out = noise(3), buffers(spec, "logits")
        engine.infer({"image_bgr": image}, out)

        assert " fp32 on " in engine.backend
    np.testing.assert_allclose(out["logits"], analytic_logits(image), atol=1e-5)


def test_without_capture_the_calls_are_queued_one_by_one(
    device: CapturingDevice, spec: EngineSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that cannot capture costs speed, and the line for people says so."""
    monkeypatch.setattr(ToldGpu, "device", HostDevice())
    with ToldGpu(spec, outputs=["alpha"]) as engine:
        image, out = noise(3), buffers(spec, "alpha")
        engine.infer({"image_bgr": image}, out)

        assert engine.backend.endswith("on NVIDIA H200, without a CUDA graph")
    assert np.array_equal(out["alpha"], analytic_alpha(image))


def test_a_sticky_error_loses_the_device_and_another_does_not(
    device: CapturingDevice, spec: EngineSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's error number or its words tell which; both keep what torch said."""
    import torch

    def failing(error: Exception) -> Any:
        def launch(work: CapturedWork) -> None:
            raise error

        return launch

    numbered = torch.AcceleratorError("CUDA error: something new")
    numbered.error_code = 719
    cases = [
        (RuntimeError("CUDA error: an illegal memory access was encountered"), DeviceLost, "illegal memory access"),
        (numbered, DeviceLost, "unspecified launch failure"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20 MiB"), EngineError, "torch failed .CUDA out of memory"),
    ]
    with ToldGpu(spec, outputs=["alpha"]) as engine:
        engine.key = "torch_cuda"
        for error, kind, told in cases:
            monkeypatch.setattr(CapturedWork, "launch", failing(error))
            with pytest.raises(EngineError, match=told) as caught:
                engine.infer({"image_bgr": noise(0)}, buffers(spec, "alpha"))
            assert type(caught.value) is kind
            assert getattr(caught.value, "backend", "torch_cuda") == "torch_cuda"


def test_a_gpu_that_is_busy_is_an_error_of_ours(spec: EngineSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch says so where it makes its first stream; `auto` goes on to the next backend only after our own errors."""

    def busy(engine: ToldGpu) -> Any:
        raise RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable")

    monkeypatch.setattr(ToldGpu, "_device", busy)

    with pytest.raises(EngineError, match=r"torch failed .*busy or unavailable"):
        ToldGpu(spec).__enter__()


def test_a_torch_without_cuda_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """No driver; no torch; a torch for CPUs: each is told by what would mend it."""
    import torch

    assert TorchCudaEngine.unavailable_reason() is not None
    monkeypatch.setattr(module, "nvidia_reason", lambda: None)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "has no CUDA; pip install" in str(TorchCudaEngine.unavailable_reason())
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert "install a newer NVIDIA driver" in str(TorchCudaEngine.unavailable_reason())
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    assert TorchCudaEngine.unavailable_reason() == "torch and onnx not installed; pip install 'segstream[gpu]'"


def test_calls_that_overlap_answer_the_same(device: CapturingDevice, spec: EngineSpec) -> None:
    """Three at once, as many as there are sets of buffers."""
    with ToldGpu(spec) as engine:
        overlap = engine.overlap(lambda: None)
        assert overlap is not None
        flying = [(image, buffers(spec, "alpha")) for image in (noise(seed) for seed in range(3))]

        calls = [overlap.submit(image, out) for image, out in flying]
        for call in calls:
            call.done.wait()
        overlap.close()

    assert all(np.array_equal(out["alpha"], analytic_alpha(image)) for image, out in flying)
