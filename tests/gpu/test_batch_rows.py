"""What the report says of batches, without a GPU: a small graph instead of a network, and a clock of its own."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx.utils
import pytest

from engines.spec import EngineSpec, InputSpec
from tests.engines.runtime.graphs import CLASSES, PALETTE, write_graph
from tests.gpu import batch_rows as module
from tests.gpu.engine_rows import LogitsOnly


@pytest.fixture
def spec(tmp_path: Path) -> EngineSpec:
    """64x32, cut to its logits, for any batch."""
    whole = onnx.load(write_graph(tmp_path / "whole.onnx", 64, 32))
    path = tmp_path / "tiny.onnx"
    onnx.save(onnx.utils.Extractor(whole).extract_model(["image_bgr"], ["logits"]), path)
    fixed = EngineSpec("tiny", path, InputSpec(32, 64), LogitsOnly(CLASSES, None), PALETTE, "fp32")
    return module.opened(fixed, tmp_path)


def test_a_batch_is_compared_with_single_calls(spec: EngineSpec, tmp_path: Path) -> None:
    """Right to the last digit here; without a GPU nothing is timed."""
    row = module.row_of(spec, "onnxruntime", tmp_path, is_timed=False)

    assert row.is_right
    assert (row.difference, row.ms, row.is_fast) == (0.0, None, None)
    assert row.work == "8 pictures a call, tiny 64x32 fp32 xN, onnxruntime"


def test_a_backend_that_cannot_take_eight_is_told(spec: EngineSpec, tmp_path: Path) -> None:
    """As every refusal, it is no fault of the report."""
    row = module.row_of(spec, "fake", tmp_path, is_timed=False)

    assert row.is_right
    assert "cannot run on backend 'fake'" in row.refused


def test_a_pictures_share_is_held_against_a_call_of_one(
    spec: EngineSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call takes 2 ms and 0.25 ms a picture: 0.5 a picture in eight, 2.25 alone, four and a half times as many."""
    now = [0.0]

    def infer(inputs: dict[str, Any], _outputs: dict[str, Any]) -> None:
        now[0] += (2.0 + 0.25 * len(inputs["image_bgr"])) / 1e3

    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    share_ms, one_ms = module.times(SimpleNamespace(infer=infer), np.zeros((8, 4, 4, 3), np.uint8), np.zeros(8))
    monkeypatch.setattr(module, "times", lambda *_: (share_ms, one_ms))
    row = module.row_of(spec, "onnxruntime", tmp_path, is_timed=True)

    assert (share_ms, one_ms) == (pytest.approx(0.5), pytest.approx(2.25))
    assert row.is_fast
    assert row.facts["gain"] == 4.5
    assert row.goal_ms == pytest.approx(0.75)
