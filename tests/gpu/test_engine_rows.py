"""What the report says of engines on a GPU, without one: a small graph instead of four networks."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx.utils
import pytest

from engines.errors import EngineError
from engines.spec import EngineSpec, InputSpec
from tests.engines.runtime.graphs import CLASSES, PALETTE, analytic_logits, write_graph
from tests.gpu import engine_rows as module
from tests.gpu.engine_rows import Exported, LogitsOnly
from tests.gpu.network_rows import deviation


@pytest.fixture
def exported(tmp_path: Path) -> Exported:
    """64x32, cut to its logits, which can be calculated by hand."""
    whole = onnx.load(write_graph(tmp_path / "whole.onnx", 64, 32))
    path = tmp_path / "tiny.onnx"
    onnx.save(onnx.utils.Extractor(whole).extract_model(["image_bgr"], ["logits"]), path)
    spec = EngineSpec("tiny", path, InputSpec(32, 64), LogitsOnly(CLASSES, None), PALETTE, "fp32")
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 64, 3), dtype=np.uint8)
    return Exported(spec, spec, image, analytic_logits(image))


def test_an_engine_is_compared_with_the_network_in_float32(exported: Exported, tmp_path: Path) -> None:
    """Right to the last digits here; without a GPU nothing is timed."""
    row = module._row(exported, "onnxruntime", "tiny", 1.0, tmp_path)

    assert row.is_right
    assert row.difference < 1e-5
    assert (row.ms, row.is_fast) == (None, None)
    assert row.facts["backend"].startswith("ONNX Runtime")


def test_a_backend_that_refuses_is_told_and_is_not_wrong(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a library knows this GPU is an answer that the report is asked for."""

    def refuses(*_: Any, **__: Any) -> Any:
        raise EngineError("built for compute capability 8.0+, here 9.0")

    monkeypatch.setattr(module, "open_engine", refuses)
    row = module._row(exported, "torch_cuda", "tiny", 1.0, tmp_path)

    assert (row.is_right, row.refused) == (True, "built for compute capability 8.0+, here 9.0")


def test_the_gpus_work_is_timed_apart_from_the_call(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty launches and one wait are divided by twenty; a call is timed whole."""
    now = [0.0]

    def works(ms: float) -> Any:
        def work(*_: Any) -> None:
            now[0] += ms / 1e3

        return work

    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    held = SimpleNamespace(graphs={1: SimpleNamespace(launch=works(0.5))}, device=SimpleNamespace(wait=works(2.0)))
    engine = SimpleNamespace(_held=held, infer=works(3.0))

    work, p95, call = module._times(engine, exported.image_bgr, {})

    assert work == pytest.approx(0.5 + 2.0 / module.LAUNCHES)
    assert p95 == pytest.approx(work)
    assert call == pytest.approx(3.0)
    held.graphs = {}
    engine.backend = "PyTorch fp16 on a GPU"
    with pytest.raises(EngineError, match="nothing was captured"):
        module._times(engine, exported.image_bgr, {})


def test_unrelated_logits_are_far_beyond_the_bound() -> None:
    """The bound is for rounding in an untrained network; a wrong answer is three times as far."""
    random = np.random.default_rng(0)
    exact, other = (random.normal(0, 0.02, (1, 21, 16, 16)).astype(np.float32) for _ in range(2))

    assert deviation(exact, exact) == 0
    assert deviation(other, exact) == pytest.approx(2**0.5, rel=0.1)
