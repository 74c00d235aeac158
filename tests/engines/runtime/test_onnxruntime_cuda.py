"""ONNX Runtime on a GPU, without one: the binding over host memory with the CPU provider, the rest with fakes."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime
import pytest

from engines.errors import BackendUnavailable, DeviceLost, EngineError
from engines.names import resolve
from engines.runtime import onnxruntime_cuda_engine as module
from engines.runtime.host_device import HostDevice
from engines.runtime.onnxruntime_cuda_engine import OnnxRuntimeCudaEngine
from engines.runtime.onnxruntime_engine import CPU_PROVIDER
from engines.spec import EngineSpec
from tests.engines.plans.worlds import dynamic_graph
from tests.engines.runtime.graphs import analytic_alpha, analytic_logits, write_engine, write_graph

WIDTH, HEIGHT = 64, 32


class OverHostMemory(OnnxRuntimeCudaEngine):
    """The same engine, with a provider and a device that every machine has."""

    provider: ClassVar[str] = CPU_PROVIDER
    place: ClassVar[str] = "cpu"
    graphs_tried: ClassVar[list[bool]] = []

    def _opened_device(self) -> HostDevice:
        return HostDevice()

    def _provider_options(self, device: Any, has_graph: bool) -> dict[str, str]:
        self.asked = super()._provider_options(device, has_graph)
        self.graphs_tried.append(has_graph)
        return {}


@pytest.fixture
def spec(tmp_path: Path) -> EngineSpec:
    """A small engine."""
    OverHostMemory.graphs_tried.clear()
    return resolve(write_engine(tmp_path, sizes=((WIDTH, HEIGHT),)))


def noise(seed: int, n: int = 1) -> Any:
    """(n, 32, 64, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (n, HEIGHT, WIDTH, 3), dtype=np.uint8)


def buffers(spec: EngineSpec, *names: str, n: int = 1) -> dict[str, Any]:
    """Filled with 77."""
    return {name: np.full((n, *spec.output_shape(name)[1:]), 77, spec.output_dtype(name)) for name in names}


def test_what_was_bound_once_serves_every_frame(spec: EngineSpec) -> None:
    """New pictures, each in another buffer; the answers are those calculated by hand, in the caller's buffers."""
    with OverHostMemory(spec) as engine:
        for seed in range(3):
            image, out = noise(seed), buffers(spec, "logits", "alpha")

            engine.infer({"image_bgr": image}, out)

            assert np.array_equal(out["alpha"], analytic_alpha(image))
            np.testing.assert_allclose(out["logits"], analytic_logits(image), atol=1e-5)

        assert engine._n_bound == 1
        assert engine.asked["user_compute_stream"] == "0"


def test_batches_are_bound_at_the_same_addresses(tmp_path: Path) -> None:
    """With an open batch axis the binding follows the number of pictures, and the runtime's own graph is not used."""
    path = dynamic_graph(write_graph(tmp_path / "fixed.onnx", WIDTH, HEIGHT), tmp_path / "open" / "tiny.onnx")
    spec = resolve(path)
    OverHostMemory.graphs_tried.clear()

    with OverHostMemory(spec, max_batch=3) as engine:
        for n in (3, 1, 2):
            image, out = noise(n, n), buffers(spec, "alpha", n=n)
            engine.infer({"image_bgr": image}, out)
            assert np.array_equal(out["alpha"], analytic_alpha(image))

    assert OverHostMemory.graphs_tried == [False]
    assert "without a CUDA graph" not in engine.backend  # closed: only the title is left


def test_a_graph_that_cannot_be_captured_is_run_without(spec: EngineSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator without a kernel for the GPU costs the graph, not the engine."""
    real = module.load_session

    def load(path: Path, **options: Any) -> Any:
        if OverHostMemory.graphs_tried[-1]:
            raise EngineError("This session cannot use the graph capture feature as requested by the user")
        return real(path, **options)

    monkeypatch.setattr(module, "load_session", load)
    with OverHostMemory(spec, outputs=["alpha"]) as engine:
        image, out = noise(0), buffers(spec, "alpha")
        engine.infer({"image_bgr": image}, out)

        assert engine.backend.endswith("fp32, without a CUDA graph")
    assert OverHostMemory.graphs_tried == [True, False]
    assert np.array_equal(out["alpha"], analytic_alpha(image))


def test_a_runtime_that_takes_the_cpu_without_a_word_is_refused(spec: EngineSpec) -> None:
    """CUDA's libraries did not load: ONNX Runtime would go on with the CPU, we say what to install."""

    class Silent(OverHostMemory):
        provider: ClassVar[str] = "CUDAExecutionProvider"

    with (
        pytest.warns(UserWarning, match="not in available provider"),
        pytest.raises(
            BackendUnavailable, match="could not load CUDA and took CPUExecutionProvider; install the CUDA and cuDNN"
        ),
    ):
        Silent(spec).__enter__()


def test_without_cuda_it_is_refused_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver first, then the build of ONNX Runtime, then what holds memory."""
    assert OnnxRuntimeCudaEngine.unavailable_reason() is not None

    monkeypatch.setattr(module, "nvidia_reason", lambda: None)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU_PROVIDER])
    assert "built without CUDA (it has CPUExecutionProvider)" in str(OnnxRuntimeCudaEngine.unavailable_reason())
    assert "pip install onnxruntime-gpu" in str(OnnxRuntimeCudaEngine.unavailable_reason())

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", CPU_PROVIDER])
    monkeypatch.setattr(module, "device_reason", lambda: "no device memory")
    assert OnnxRuntimeCudaEngine.unavailable_reason() == "no device memory"


def test_a_gpu_that_is_lost_is_told_as_such(spec: EngineSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ONNX Runtime says of a sticky error becomes DeviceLost, which names the backend."""
    said = "CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; expr=cudaStreamSynchronize(stream)"
    with OverHostMemory(spec, outputs=["alpha"]) as engine:
        engine.key = "onnxruntime_cuda"

        class Broken:
            def run_with_iobinding(self, *_: Any) -> None:
                raise RuntimeError(said)

        monkeypatch.setattr(engine, "_session", Broken())
        with pytest.raises(DeviceLost, match="lost the GPU: an illegal memory access") as caught:
            engine.infer({"image_bgr": noise(0)}, buffers(spec, "alpha"))

    assert caught.value.backend == "onnxruntime_cuda"
