"""Who runs what, who hands to whom."""

import pytest

from configs import ConfigError, load
from pipeline.config import RunConfig
from pipeline.topology import engine_threads, plan


def _config(*overrides):
    return load(RunConfig, None, ["placement=split", *overrides])  # whatever GPU there is


def test_one_worker_a_stage_by_default() -> None:
    """Four workers in a row, and free slots go back to the first."""
    topology = plan(_config(), 1)

    assert [w.name for w in topology.workers] == ["capture", "preprocess", "segment", "render"]
    assert [w.next[0] for w in topology.workers] == ["preprocess", "segment", "render", None]
    assert {w.home[0] for w in topology.workers} == {"capture"}
    assert topology.diary == ("capture", "preprocess", "segment", "render", "sinks")
    assert topology.slots(1) == 6


def test_refine_comes_with_the_crf() -> None:
    """`crf` puts refine between segment and render."""
    assert plan(_config("crf=reference"), 1).order == ("capture", "preprocess", "segment", "refine", "render")


def test_streams_share_the_engine_and_have_their_own_ends() -> None:
    """Capture and render stand once a stream, what is between once for all."""
    topology = plan(_config(), 2)

    assert [w.name for w in topology.workers] == [
        "capture.0",
        "capture.1",
        "preprocess",
        "segment",
        "render.0",
        "render.1",
    ]
    segment = topology.workers[3]
    assert segment.next == {0: "render.0", 1: "render.1"}
    assert segment.home == {0: "capture.0", 1: "capture.1"}


@pytest.mark.parametrize(
    ("workers", "message"),
    [
        ("[[capture], [preproces], [segment], [render]]", "did you mean 'preprocess'"),
        ("[[preprocess], [capture], [render]]", "must begin with capture"),
        ("[[capture], [segment], [segment], [render]]", "named twice"),
    ],
)
def test_a_wrong_chain_is_refused(workers, message) -> None:
    """Unknown, misplaced and repeated stages, each with its own words."""
    with pytest.raises(ConfigError, match=message):
        plan(_config(f"workers={workers}"), 1)


def test_crf_without_refine_is_refused() -> None:
    """A chain of one's own must name refine when the CRF is on."""
    with pytest.raises(ConfigError, match="add it between segment and render"):
        plan(_config("crf=reference", "workers=[[capture], [preprocess], [segment], [render]]"), 1)


def test_refine_comes_with_stability() -> None:
    """Steady masks are made there too, with or without a CRF; a chain of one's own must name it."""
    assert plan(_config("stability=0.5"), 1).order == ("capture", "preprocess", "segment", "refine", "render")
    with pytest.raises(ConfigError, match=r"stability is 0\.5 but no worker runs refine"):
        plan(_config("stability=0.5", "workers=[[capture], [preprocess], [segment], [render]]"), 1)


def test_threads_as_asked() -> None:
    """`threads` wins; otherwise there is at least one."""
    assert engine_threads(_config("threads=3"), live=True) == 3
    assert engine_threads(_config(), live=True) >= 1
    assert engine_threads(_config(), live=False) >= 1


def test_refine_without_crf_is_refused() -> None:
    """It would read logits that nobody wrote."""
    with pytest.raises(ConfigError, match="refine is named but crf is off and stability is 0"):
        plan(_config("workers=[[capture], [preprocess], [segment], [refine], [render]]"), 1)


def test_a_tap_stands_right_before_render() -> None:
    """`tap: DIR` puts it there by itself; a wiring of one's own has to name it, and only with a folder."""
    assert plan(_config("tap=planes"), 1).order == ("capture", "preprocess", "segment", "tap", "render")
    with pytest.raises(ConfigError, match="name tap before render"):
        plan(_config("tap=planes", "workers=[[capture], [preprocess], [segment], [render]]"), 1)
    with pytest.raises(ConfigError, match="set tap: DIR"):
        plan(_config("workers=[[capture], [preprocess], [segment], [tap], [render]]"), 1)


def _groups(*overrides, n_streams=1):
    topology = plan(_config(*overrides), n_streams)
    return [w.stages for w in topology.workers], topology.placement


def test_fused_puts_all_after_capture_into_one_process() -> None:
    """Refine and tap included; asked for, it holds on a CPU too."""
    stages, placement = _groups("placement=fused", "stability=0.5", "tap=planes")

    assert stages == [("capture",), ("preprocess", "segment", "refine", "tap", "render")]
    assert (placement.kind, placement.why) == ("fused", "asked for")


@pytest.mark.parametrize(("override", "n_streams"), [("restart.standby=1", 1), ("slots=0", 2)])
def test_render_stays_apart_where_there_are_two_of_either(override, n_streams) -> None:
    """A standby has no sinks, and streams that share an engine each have theirs; the reason is told."""
    stages, placement = _groups("placement=fused", override, n_streams=n_streams)

    assert ("preprocess", "segment") in stages
    assert [one for one in stages if "render" in one] == [("render",)] * n_streams
    assert "render apart" in placement.told


def test_auto_fuses_where_a_gpu_will_serve(monkeypatch) -> None:
    """Only there, only for an engine that uses it, and never against `workers`."""
    monkeypatch.setattr("engines.runtime.expected.nvidia_reason", lambda: None)
    monkeypatch.setattr("engines.runtime.expected._reason", lambda name: None if name == "torch_cuda" else "no plan")

    auto = "placement=auto"
    assert _groups(auto)[1].kind == "fused"
    assert _groups(auto, "backend=torch_cuda")[1].kind == "fused"
    assert _groups(auto, "backend=openvino")[1].told == "split (backend openvino is for the CPU)"
    assert _groups(auto, "backend=tensorrt")[1].told == "split (no plan)"
    assert _groups(auto, "engine=fake@64x32")[1].kind == "split"
    assert _groups("placement=split")[1].told == "split (asked for)"
    own = _groups("workers=[[capture], [preprocess, segment], [render]]", "placement=fused")
    assert own[0] == [("capture",), ("preprocess", "segment"), ("render",)]
    assert own[1].told == "workers of your own (workers is set)"


def test_without_a_driver_auto_splits(monkeypatch) -> None:
    """The reason is the machine's own."""
    monkeypatch.setattr("engines.runtime.expected.nvidia_reason", lambda: "no NVIDIA driver")

    assert RunConfig().placement == "auto"
    assert _groups("placement=auto")[1].told == "split (no NVIDIA driver)"
