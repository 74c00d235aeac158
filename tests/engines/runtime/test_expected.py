"""Whether a GPU will serve, before anything is loaded."""

import importlib.metadata
import importlib.util

import pytest

from engines.errors import BackendUnavailable
from engines.runtime import expected
from engines.runtime.expected import no_gpu_reason


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """A machine with a driver and these distributions and versions."""

    def make(**versions: str) -> None:
        def version(name: str) -> str:
            if name in versions:
                return versions[name]
            raise importlib.metadata.PackageNotFoundError(name)

        monkeypatch.setattr(expected, "nvidia_reason", lambda: None)
        monkeypatch.setattr(importlib.metadata, "version", version)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name in versions else None)

    return make


def test_one_library_for_the_gpu_is_enough(machine) -> None:
    """TensorRT alone, torch with CUDA and onnx, or ONNX Runtime's build for it."""
    machine(tensorrt="10.13")
    assert no_gpu_reason() is None
    machine(torch="2.13.0+cu130", onnx="1.19")
    assert no_gpu_reason() is None
    machine(**{"onnxruntime": "1.26", "onnxruntime-gpu": "1.26"})
    assert no_gpu_reason() is None


def test_builds_for_the_cpu_do_not_count(machine) -> None:
    """A driver is no use to them; each is told once."""
    machine(torch="2.13.0+cpu", onnx="1.19", onnxruntime="1.26")

    reason = no_gpu_reason()

    assert reason is not None
    assert "torch 2.13.0+cpu has no CUDA" in reason
    assert "onnxruntime has no CUDA" in reason
    assert "tensorrt not installed" in reason
    assert no_gpu_reason("torch_cuda") == "torch 2.13.0+cpu has no CUDA"


def test_what_never_needs_a_gpu(machine) -> None:
    """Backends of the CPU and the fake engine, whatever is installed; a misspelt backend is refused by name."""
    machine(tensorrt="10.13")

    assert no_gpu_reason("openvino") == "backend openvino is for the CPU"
    assert no_gpu_reason("auto", "fake@64x32?work_ms=5") == "engine fake has no network"
    with pytest.raises(BackendUnavailable, match="did you mean 'openvino'"):
        no_gpu_reason("openvin")
