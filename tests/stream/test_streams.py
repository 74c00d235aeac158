"""Several streams through one engine, and the dense CRF in its own worker."""

import importlib.util
import json
from fractions import Fraction

import numpy as np
import pytest

from configs import load
from engines.runtime.fake_engine import SHAPE_BGR
from pipeline.config import RunConfig
from pipeline.errors import WiringError
from pipeline.frame import StreamFormat
from pipeline.report import report_of
from pipeline.run import prepare
from pipeline.sources.synthetic import shape_mask
from pipeline.supervisor import Supervisor
from tests.stream.playing import FAULTS, pictures, play


def test_two_streams_share_an_engine_and_keep_apart(tmp_path) -> None:
    """Sizes and effects differ; each stream's frames are complete, in order, and its own."""
    sinks = [f"frames:{tmp_path}/{{stream}}"]
    streams = [
        {"source": "synthetic:320x180@30?frames=50", "sinks": sinks, "effect": "cutout:black"},
        {"source": "synthetic:480x360@30?frames=40", "sinks": sinks, "effect": "none"},
    ]
    config = load(RunConfig, None, [f"streams={json.dumps(streams)}", "engine=fake@320x180"])
    supervisor = Supervisor(prepare(config), lambda _: None)
    try:
        supervisor.run()
        report = report_of(supervisor, None)
    finally:
        supervisor.close()

    assert [stream["frames"]["shown"] for stream in report["streams"]] == [50, 40]
    first, second = pictures(tmp_path / "0"), pictures(tmp_path / "1")
    assert sorted(first) == list(range(50))
    assert sorted(second) == list(range(40))
    assert first[0].shape == (180, 320, 3)
    assert second[0].shape == (360, 480, 3)
    assert tuple(first[0][-1, -1]) == (0, 0, 0)
    assert np.any(second[0][-1, -1] != 0)


@pytest.mark.crf
def test_the_reference_crf_runs_in_its_own_worker(tmp_path) -> None:
    """`crf: reference` adds refine between segment and render; its time shows in the report."""
    if importlib.util.find_spec("pydensecrf") is None:
        pytest.skip("pydensecrf is not installed; pip install 'segstream[crf]'")

    stages = ("capture", "preprocess", "segment", "refine", "render")
    played = play("synthetic:320x180@30?frames=12", "null", stages=stages, crf="reference")

    assert played.frames["shown"] == 12
    assert played.report["stages"]["refine"]["work_ms"]["p50"] > 5


def test_crf_auto_without_a_manifest_is_off_and_the_report_says_why() -> None:
    """No worker is started for nothing."""
    played = play("synthetic:320x180@30?frames=6", "null", crf="auto")

    assert played.frames["shown"] == 6
    assert "refine" not in played.report["stages"]
    assert played.report["crf"] == {"fake@320x180": "off: fake has no manifest that could ask for it"}


def test_steady_masks_are_made_in_a_worker_of_their_own(tmp_path) -> None:
    """`stability` adds refine without a CRF; a mover of 600 px/s is where it was captured, in every frame."""
    stages = ("capture", "preprocess", "segment", "refine", "render")
    played = play("synthetic:320x180@30?frames=12&speed=600", f"frames:{tmp_path}", stages=stages, stability=1.0)

    assert played.frames["shown"] == 12
    assert "refine" in played.report["stages"]
    for sequence, picture in pictures(tmp_path).items():
        mask = shape_mask(sequence, StreamFormat(320, 180, Fraction(30), False, "synthetic"), 600)
        shown = (picture == SHAPE_BGR).all(axis=2)  # the background is green
        assert shown.sum() > 0.5 * mask.sum(), f"frame {sequence}"
        assert not (shown & ~mask).any(), f"frame {sequence}"


def test_a_wiring_that_cannot_work_is_refused_before_any_process() -> None:
    """A stage that reads what nobody wrote before it is named, with the plane."""
    stages = ("capture", f"{FAULTS}:ReadsTooEarly", "preprocess", "segment", "render")

    with pytest.raises(WiringError, match="reads alpha, which no stage before it writes"):
        play("synthetic", stages=stages)
