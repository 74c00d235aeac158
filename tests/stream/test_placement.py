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
from pipeline.sources import source_from_uri
from pipeline.sources.synthetic import shape_mask
from pipeline.supervisor import Supervisor
from tests.engines.runtime.graphs import write_engine
from tests.stream.playing import pictures

N = 12
SPEED = 200


def _play(folder: Path, n: int = N, **options: Any) -> tuple[dict[str, Any], list[str]]:
    """Run one stream to its end; the report and the names of its workers."""
    source = f"synthetic:96x64@30?frames={n}&speed={SPEED}"
    streams = [{"source": source, "sinks": [f"frames:{folder}/a", f"masks:{folder}/b"]}]
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


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.stream
def test_a_fused_worker_keeps_planes_on_the_device(tmp_path: Path) -> None:
    """torch on the CPU, kernels interpreted: every frame is shown, composed there, with the mask its colour asks for.

    One sink gets mattes, another pictures; how far they are the host's is in tests/pipeline/test_on_device.py.
    """
    engine = str(write_engine(tmp_path / "tiny"))

    report, workers = _play(tmp_path, engine=engine, backend="torch_cpu", placement="fused", n=4)

    assert workers == ["capture", "preprocess+segment+render"]
    assert report["frames"] == {"captured": 4, "shown": 4, "dropped": {}}
    assert "painted on the host" not in [event["what"] for event in report["events"]]
    shown, masks = pictures(tmp_path / "a"), pictures(tmp_path / "b")
    assert sorted(shown) == sorted(masks) == list(range(4))
    format = source_from_uri("synthetic:96x64@30").open().format
    for number, mask in masks.items():
        # Its blue is 200, and the graph calls a pixel a person above 128.
        assert mask[:, :, 0][shape_mask(number, format, speed_px_s=SPEED)].mean() > 0.9
        assert shown[number].any()
