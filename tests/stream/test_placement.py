"""Fused or split, a stream's frames and masks are the same: real processes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs import load
from pipeline.config import RunConfig
from pipeline.report import report_of
from pipeline.run import prepare
from pipeline.supervisor import Supervisor
from tests.engines.runtime.graphs import write_engine
from tests.stream.playing import pictures

N = 12


def _play(folder: Path, **options: Any) -> tuple[dict[str, Any], list[str]]:
    """Run one stream to its end; the report and the names of its workers."""
    streams = [{"source": f"synthetic:96x64@30?frames={N}", "sinks": [f"frames:{folder}/a", f"masks:{folder}/b"]}]
    tree = {"streams": streams, "pacing": "lossless", "effect": "blur:6", **options}
    supervisor = Supervisor(prepare(load(RunConfig, None, [f"{k}={json.dumps(v)}" for k, v in tree.items()])), _unseen)
    try:
        supervisor.run()
        return report_of(supervisor, None), [w.name for w in supervisor.run_plan.topology.workers]
    finally:
        supervisor.close()


def _unseen(supervisor: Supervisor) -> None:
    """Nothing is watched."""


@pytest.mark.slow
@pytest.mark.stream
def test_fused_and_split_give_the_same_bytes(tmp_path: Path) -> None:
    """On a CPU planes stay on the host either way: every picture and every mask is equal, and nothing is dropped."""
    engine = str(write_engine(tmp_path / "tiny"))
    played = {}
    for placement in ("split", "fused"):
        folder = tmp_path / placement
        folder.mkdir()
        report, workers = _play(folder, engine=engine, backend="onnxruntime", placement=placement, stability=0.5)
        assert report["frames"] == {"captured": N, "shown": N, "dropped": {}}
        played[placement] = (workers, pictures(folder / "a"), pictures(folder / "b"))

    assert played["split"][0] == ["capture", "preprocess", "segment", "refine", "render"]
    assert played["fused"][0] == ["capture", "preprocess+segment+refine+render"]
    for one, other in zip(played["split"][1:], played["fused"][1:], strict=True):
        assert sorted(one) == sorted(other) == list(range(N))
        assert all(np.array_equal(one[n], other[n]) for n in range(N))
    assert any(mask.any() for mask in played["fused"][2].values())
