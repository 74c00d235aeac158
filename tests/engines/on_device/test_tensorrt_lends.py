"""TensorRT's buffers, lent to frames that stay on the device: with the TensorRT and the GPU that take notes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engines.geometry import fit
from engines.on_device.lanes import HostLanes
from engines.on_device.planes import DevicePlanes
from engines.plans.cache import PlanCache
from engines.plans.library import LIBRARIES, Library
from engines.runtime import tensorrt_engine
from engines.runtime.device import DeviceBuffer
from engines.spec import EngineSpec
from tests.engines.plans.keeping import kept
from tests.engines.plans.worlds import key, tiny_spec
from tests.engines.runtime.graphs import analytic_logits
from tests.engines.runtime.notebook import NotedDevice, noted_engine

pytestmark = pytest.mark.torch


class NotedLanes(HostLanes):
    """Sees the memory of a device that takes notes."""

    def __init__(self, device: NotedDevice) -> None:
        self._memory = device.memory

    def tensor_over(self, buffer: DeviceBuffer, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        flat = torch.from_numpy(self._memory[buffer.address])
        return flat[: int(np.prod(shape)) * dtype.itemsize].view(dtype).view(shape)


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EngineSpec:
    """A graph of 64x32, and a user's folder for its plan."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tiny_spec(tmp_path / "engines")


def test_frames_go_through_its_own_buffers_by_one_launch(
    spec: EngineSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No copy from or to the host, the captured graph once a frame; what comes out is the plan's answer."""
    engine, trt, device = noted_engine(monkeypatch, spec)
    kept(PlanCache(tmp_path / "segstream" / "plans"), key(spec, Library(LIBRARIES["tensorrt"], trt)))
    monkeypatch.setattr(tensorrt_engine, "kernels_reason", lambda: None)
    monkeypatch.setattr(tensorrt_engine, "is_interpreted", lambda: False)
    assert engine.resident() is None
    with engine:
        lent = engine.resident()
        assert lent is not None
        assert lent.device.stream == device.stream

        def launch() -> None:
            lent.launch()
            device.wait()

        planes = DevicePlanes(replace(lent, launch=launch), spec, NotedLanes(device))
        device.notes.clear()
        seat = planes.take(np.random.default_rng(4).integers(0, 256, (32, 64, 3), np.uint8), fit(32, 64, spec.input))
        planes.infer(seat, ("logits", "alpha"))

        assert device.notes == ["launch", "wait"]
        wanted = analytic_logits(seat.tensors["tensor_bgr"].numpy()[None])
        assert np.array_equal(seat.tensors["logits"].numpy(), wanted[0])
        assert seat.has("alpha")
    assert engine.resident() is None


@pytest.mark.parametrize(("reason", "interpreted"), [("triton is not installed", False), (None, True)])
def test_it_lends_nothing_that_no_kernel_could_work_on(
    spec: EngineSpec, monkeypatch: pytest.MonkeyPatch, reason: str | None, interpreted: bool
) -> None:
    """Without torch and triton, or with kernels that run on the CPU, frames take the usual way."""
    engine, _, _ = noted_engine(monkeypatch, spec)
    monkeypatch.setattr(tensorrt_engine, "kernels_reason", lambda: reason)
    monkeypatch.setattr(tensorrt_engine, "is_interpreted", lambda: interpreted)

    assert not engine.lends_buffers()
