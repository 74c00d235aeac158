"""Which errors end a process, and what `auto` makes of a GPU that was lost."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from engines.errors import BackendUnavailable, DeviceLost, EngineError
from engines.names import resolve
from engines.runtime import BACKENDS, open_engine
from engines.runtime.checked import Array, CheckedEngine
from engines.runtime.lost import lost_reason
from tests.engines.runtime.graphs import write_engine

HERE = "tests.engines.runtime.test_lost"

ADVICE = """
CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be incorrect.
For debugging consider passing CUDA_LAUNCH_BLOCKING=1
Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.
"""
"""What torch puts below each `CUDA error: ...`, whichever it is."""


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("cudaStreamSynchronize: CUDA error 700, an illegal memory access was encountered", "illegal memory access"),
        ("CUDA failure 719: unspecified launch failure ; GPU=0 ; hostname=a", "unspecified launch failure"),
        (f"CUDA error: device-side assert triggered{ADVICE}", "device-side assert triggered"),
        (f"CUDA error: an illegal memory access was encountered{ADVICE}", "illegal memory access"),
        ("1: [cudaDriverHelpers.cpp] Error Code 1: Cuda Driver (misaligned address)", "misaligned address"),
        ("Cuda Runtime (an illegal instruction was encountered)", "illegal instruction"),
        ("cudaGraphLaunch: CUDA error 214, uncorrectable ECC error encountered", "ECC"),
    ],
)
def test_sticky_errors_are_known_by_number_or_words(said: str, told: str) -> None:
    """As cuda-bindings, ONNX Runtime, torch and TensorRT write them."""
    assert told in str(lost_reason(said))


@pytest.mark.parametrize(
    "said",
    [
        "cudaMalloc: CUDA error 2, out of memory",
        "CUDA out of memory. Tried to allocate 700.00 MiB",
        f"CUDA error: out of memory{ADVICE}",
        f"CUDA error: invalid argument{ADVICE}",
        f"CUDA error: no kernel image is available for execution on the device{ADVICE}",
        "cudaStreamEndCapture: CUDA error 901, operation failed due to a previous error during capture",
        "cudaError 35: CUDA driver version is insufficient for CUDA runtime version",
        "700 of 719 layers",
    ],
)
def test_other_errors_leave_the_process_alone(said: str) -> None:
    """Too little memory, a capture that is refused, an old driver."""
    assert lost_reason(said) is None


def test_a_device_that_is_gone_counts_only_while_an_engine_runs() -> None:
    """Before that, `no device` is a fault of the installation, and the next backend may be tried at once."""
    said = "cudaSetDevice: CUDA error 100, no CUDA-capable device is detected"

    assert lost_reason(said, at_work=False) is None
    assert lost_reason(said) == "there is no device any more"


class Fragile(CheckedEngine):
    """On a GPU that is lost when it is opened, or at its first picture."""

    title: ClassVar[str] = "Fragile"
    on_gpu: ClassVar[bool] = True
    at_opening: ClassVar[bool] = False
    closed: ClassVar[int] = 0

    @classmethod
    def unavailable_reason(cls) -> str | None:
        return None

    def _open(self) -> None:
        if self.at_opening:
            raise EngineError("CUDA error 700, an illegal memory access was encountered")

    def _run(self, image_bgr: Array, outputs: Mapping[str, Array]) -> None:
        raise RuntimeError("CUDA error: unspecified launch failure")

    def _close(self) -> None:
        type(self).closed += 1


@pytest.fixture
def fragile(monkeypatch: pytest.MonkeyPatch) -> None:
    """`fragile` is the best backend, before ONNX Runtime."""
    monkeypatch.setattr(Fragile, "closed", 0)
    table = {"fragile": f"{HERE}:Fragile", "onnxruntime": BACKENDS["onnxruntime"]}
    monkeypatch.setattr("engines.runtime.BACKENDS", table)


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """A small engine's manifest."""
    return write_engine(tmp_path)


def test_auto_does_not_go_on_in_a_process_that_lost_its_gpu(
    fragile: None, engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another backend of the same GPU would fail as well: the process must end, and who started it goes on."""
    monkeypatch.setattr(Fragile, "at_opening", True)

    with pytest.raises(DeviceLost, match="Fragile lost the GPU: an illegal memory access") as caught:
        open_engine(engine).__enter__()

    assert caught.value.backend == "fragile"
    assert Fragile.closed == 0, "nothing can be given back to a GPU that is lost"


def test_a_gpu_that_is_lost_at_work_names_its_backend(fragile: None, engine: Path) -> None:
    """Whoever starts the next process can leave this backend out."""
    spec = resolve(engine)
    out: dict[str, Any] = {"alpha": np.zeros(spec.output_shape("alpha"), np.uint8)}
    with open_engine(spec) as opened, pytest.raises(DeviceLost, match="unspecified launch failure") as caught:
        opened.infer({"image_bgr": np.zeros(spec.input.shape(), np.uint8)}, out)

    assert caught.value.backend == "fragile"


def test_a_backend_that_was_given_up_is_left_out_with_the_reason(fragile: None, engine: Path) -> None:
    """The line for people says why the next one serves; where there is none, all reasons are told."""
    without = {"fragile": "fragile lost the GPU 2 times"}
    with open_engine(engine, without=without, n_threads=1) as opened:
        assert opened.choice.endswith("1 thread; fragile lost the GPU 2 times")

    with pytest.raises(BackendUnavailable, match="no backend is available: the fake lost it"):
        open_engine("fake@64x32", without={"fake": "the fake lost it"})


def test_the_fake_loses_its_gpu_when_asked_to() -> None:
    """For whole streams with a GPU that fails."""
    with open_engine("fake@64x32?lose_at=1", outputs=["alpha"]) as opened:
        image, out = np.zeros((1, 32, 64, 3), np.uint8), {"alpha": np.zeros((1, 32, 64), np.uint8)}
        opened.infer({"image_bgr": image}, out)

        with pytest.raises(DeviceLost, match="inference 1, as asked for") as caught:
            opened.infer({"image_bgr": image}, out)

    assert caught.value.backend == "fake"


def test_auto_goes_from_the_fastest_to_the_most_portable() -> None:
    """TensorRT, torch and ONNX Runtime on a GPU, then OpenVINO and ONNX Runtime on the CPU."""
    assert [name for name in BACKENDS if name not in {"fake", "torch_cpu"}] == [
        "tensorrt", "tensorrt_rtx", "torch_cuda", "onnxruntime_cuda", "openvino", "onnxruntime",
    ]  # fmt: skip
