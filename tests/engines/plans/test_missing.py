"""What `run --build` would build: nothing without a GPU, nothing that is kept, and else the best backend's plan."""

from collections.abc import Iterator
from typing import ClassVar

import pytest

from engines.names import resolve
from engines.plans.missing import MissingPlan, missing_plan
from engines.runtime import BACKENDS
from engines.runtime.checked import PrecisionHint
from engines.runtime.tensorrt_engine import TensorRtEngine
from engines.spec import EngineSpec
from tests.engines.plans.worlds import tiny_spec


class Rt(TensorRtEngine):
    """As told; asked of the class, never opened."""

    unavailable: ClassVar[str | None] = None
    missing: ClassVar[str | None] = "no plan of it; build one"

    @classmethod
    def unavailable_reason(cls) -> str | None:
        return cls.unavailable

    @classmethod
    def missing_reason(cls, spec: EngineSpec, precision_hint: PrecisionHint = "auto") -> str | None:
        return cls.missing


class Rtx(Rt):
    """The other one."""


@pytest.fixture(autouse=True)
def _table() -> Iterator[None]:
    before = dict(BACKENDS)
    BACKENDS.update({"tensorrt": f"{__name__}:Rt", "tensorrt_rtx": f"{__name__}:Rtx"})
    yield
    BACKENDS.clear()  # so that their order is as it was
    BACKENDS.update(before)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> EngineSpec:
    """A graph of 64x32."""
    return tiny_spec(tmp_path_factory.mktemp("engines"))


def wanted(spec: EngineSpec, backend: str = "auto", hint: PrecisionHint = "auto") -> MissingPlan:
    """It is one."""
    plan, reason = missing_plan(spec, backend, hint)
    assert plan is not None, reason
    return plan


def test_the_best_library_that_is_here_gets_the_plan(spec: EngineSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT before TensorRT-RTX, unless it cannot be used or the other was named."""
    assert wanted(spec).title == "tiny 64x32 fp32 for TensorRT"
    assert wanted(spec).why == "no plan of it; build one"
    assert wanted(spec, "tensorrt_rtx").backend == "tensorrt_rtx"

    monkeypatch.setattr(Rt, "unavailable", "TensorRT is not installed")
    monkeypatch.setattr(Rtx, "unavailable", None, raising=False)

    assert wanted(spec).backend == "tensorrt_rtx"


def test_the_command_builds_what_is_missing(spec: EngineSpec) -> None:
    """Of the same graph; exact where the stream asks for exact arithmetic."""
    assert wanted(spec).arguments == ["build", str(spec.path), "--backend", "tensorrt"]
    assert wanted(spec, hint="f32").command.endswith("--backend tensorrt --no-tf32")


def test_a_plan_that_is_kept_is_enough(spec: EngineSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of any library that can be used: a stream that has one does not wait for another."""
    monkeypatch.setattr(Rtx, "missing", None, raising=False)

    assert missing_plan(spec) == (None, "a plan of tiny 64x32 fp32 for TensorRT-RTX is kept")


def test_without_a_gpu_nothing_is_built(spec: EngineSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is told once."""
    monkeypatch.setattr(Rt, "unavailable", "no NVIDIA driver")

    assert missing_plan(spec) == (None, "no NVIDIA driver")


def test_other_backends_and_the_engine_without_a_graph_want_none(spec: EngineSpec) -> None:
    """They have nothing to do with plans."""
    assert missing_plan(spec, "openvino") == (None, "backend openvino needs no plan")
    assert missing_plan(resolve("fake@64x32"))[0] is None


def test_a_library_without_its_backend_is_passed_over(spec: EngineSpec) -> None:
    """The table of backends decides, not the table of libraries."""
    del BACKENDS["tensorrt"]

    assert wanted(spec).backend == "tensorrt_rtx"
