"""The GPU as the driver tells of it, by a driver that takes notes."""

import ctypes
from typing import Any

import pytest

from engines.plans import gpu
from engines.plans.gpu import Gpu, gpu_here


class NotedDriver:
    """Stands for libcuda: fills in what it is asked for."""

    def __init__(self, **errors: int) -> None:
        self.errors = errors

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            if name == "cuDeviceGetName":
                arguments[0].value = b"NVIDIA H200"
            elif name == "cuDeviceGetAttribute":
                arguments[0]._obj.value = {75: 9, 76: 0}[arguments[1]]
            elif name == "cuDeviceTotalMem_v2":
                arguments[0]._obj.value = 139 << 30
            elif name == "cuDriverGetVersion":
                arguments[0]._obj.value = 13010
            return self.errors.get(name, 0)

        return call


def test_name_capability_driver_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """As keys and messages use them."""
    monkeypatch.setattr(gpu, "nvidia_reason", lambda: None)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: NotedDriver())

    found, reason = gpu_here()

    assert (found, reason) == (Gpu("NVIDIA H200", "9.0", "13.1", 139 << 30), "")
    assert found is not None
    assert found.label == "NVIDIA H200 (compute capability 9.0)"


def test_a_driver_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after an update of the driver without a restart; nothing is raised."""
    monkeypatch.setattr(gpu, "nvidia_reason", lambda: None)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: NotedDriver(cuInit=803))

    assert gpu_here() == (None, "the NVIDIA driver does not answer (cuInit: CUDA error 803)")


def test_without_a_driver_there_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that `doctor` gives."""
    monkeypatch.setattr(gpu, "nvidia_reason", lambda: "no NVIDIA driver")

    assert gpu_here() == (None, "no NVIDIA driver")
