"""What is checked before any process starts."""

import json

import pytest

from configs import ConfigError, load
from engines.errors import EngineMismatch
from pipeline.config import RunConfig
from pipeline.run import prepare
from pipeline.sources.uri import scrubbed_of_logins
from tests.engines.runtime.graphs import write_engine


def _prepare(source, *sinks, **options):
    streams = json.dumps([{"source": source, "sinks": list(sinks)}])
    overrides = [f"streams={streams}", "engine=fake", *(f"{key}={value}" for key, value in options.items())]
    return prepare(load(RunConfig, None, overrides))


@pytest.mark.parametrize("sink", ["file:{}", "jsonl:{}"])
def test_what_is_read_is_not_written_over(tmp_path, sink) -> None:
    """The source, a backdrop and another sink's file are all refused as an output."""
    clip, backdrop = tmp_path / "a.mp4", tmp_path / "b.mp4"
    clip.write_bytes(b"x")
    backdrop.write_bytes(b"x")

    for taken in (clip, backdrop):
        with pytest.raises(ConfigError, match="the same file as"):
            _prepare(str(clip), sink.format(taken), effect=f"replace:{backdrop}")
    with pytest.raises(ConfigError, match="the same file as"):
        _prepare("synthetic", f"file:{tmp_path}/c.mp4", f"jsonl:{tmp_path}/x/../c.mp4")


@pytest.mark.parametrize(
    ("sinks", "source", "pacing"),
    [(["null"], "synthetic", "lossless"), (["browser"], "synthetic", "live"), (["null"], "0", "live")],
)
def test_pacing_follows_source_and_sinks(sinks, source, pacing) -> None:
    """Cameras and what is watched are live, the rest is lossless."""
    assert _prepare(source, *sinks).pacing == pacing


def test_a_wrong_backend_is_refused() -> None:
    """With its near matches."""
    with pytest.raises(ConfigError, match="openvino"):
        _prepare("synthetic", "null", backend="openvin")


def test_a_graph_that_takes_several_pictures_a_call_is_refused(tmp_path) -> None:
    """A stream has one frame at a time; the file opens for batch work elsewhere."""
    manifest = write_engine(tmp_path / "tiny")
    tree = json.loads(manifest.read_text())
    tree["graphs"][0]["batch"] = 4
    manifest.write_text(json.dumps(tree))

    with pytest.raises(EngineMismatch, match="takes 4 pictures a call; a stream takes one"):
        _prepare("synthetic", "null", engine=manifest.parent / tree["graphs"][0]["file"])


def test_yaml_may_say_zero_and_null() -> None:
    """`source: 0` is a camera, `sinks: [null]` is a sink; nobody has to know of quotes."""
    config = load(RunConfig, None, ["streams=[{source: 0, sinks: [null]}]"])

    assert (config.streams[0].source, config.streams[0].sinks) == ("0", ("null",))


@pytest.mark.parametrize(
    "text", ["rtsp:/bob:hunter2@127.0.0.1/x", "bob:hunter2@127.0.0.1", "--set streams=rtsp://bob:hunter2@h: no"]
)
def test_a_password_typed_in_the_wrong_place_is_not_shown(text) -> None:
    """Whatever looks like a login loses its secret before it is printed."""
    assert "hunter2" not in scrubbed_of_logins(text)
    assert "bob" in scrubbed_of_logins(text)


def _tuned(tmp_path, monkeypatch, crf):
    from engines import crf_gate
    from pipeline import step_down

    monkeypatch.setattr(crf_gate, "unavailable_reason", lambda method: None)
    monkeypatch.setattr(step_down, "unavailable_reason", lambda method: None)
    manifest = write_engine(tmp_path / "tiny")
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "crf": crf}))
    return manifest


CRF = {"w1": 4, "sigma_alpha": 67, "sigma_beta": 3, "method": "exact"}


def test_crf_auto_runs_what_the_manifest_says(tmp_path, monkeypatch) -> None:
    """Refine gets a worker, its methods are made ready, lighter ones too where frames may be dropped."""
    engine = _tuned(tmp_path, monkeypatch, CRF)

    watched = _prepare("synthetic", "browser", engine=engine, crf="auto")
    filed = _prepare("synthetic", "null", engine=engine, crf="auto")

    assert "refine" in watched.topology.order
    assert watched.crf_methods == ("exact", "fast")
    assert filed.crf_methods == ("exact",)
    assert "exact w1 4 sigma 67/3 w2 3/3, 5 iterations" in filed.crf_told[0]


def test_crf_auto_costs_nothing_where_the_manifest_says_none(tmp_path, monkeypatch) -> None:
    """No refine worker, and the reason is told."""
    run = _prepare("synthetic", "null", engine=_tuned(tmp_path, monkeypatch, "none"), crf="auto")

    assert "refine" not in run.topology.order
    assert run.crf_methods == ()
    assert run.config.crf.method == "off"
    assert "nobody measured" in run.crf_told[0]


def test_crf_auto_waits_for_an_engine_that_may_be_swapped_in(tmp_path, monkeypatch) -> None:
    """The first engine wants none, the second one does: the worker is there for it."""
    engine = _tuned(tmp_path, monkeypatch, CRF)

    run = _prepare("synthetic", "null", engines=f"[{engine}]", crf="auto")

    assert "refine" in run.topology.order
    assert [told.partition(":")[0] for told in run.crf_told] == ["crf auto, fake", f"crf auto, {engine}"]
    assert run.job(
        run.topology.workers[0], 1, settings=run.settings, folder="", status="", control=""
    )["options"]["crf"] == "auto"  # fmt: skip


def test_crf_auto_leaves_a_worker_that_was_named(tmp_path, monkeypatch) -> None:
    """A list of workers with refine in it is obeyed; it then has nothing to do."""
    engine = _tuned(tmp_path, monkeypatch, "none")
    workers = "[[capture], [preprocess], [segment], [refine], [render]]"

    assert "refine" in _prepare("synthetic", "null", engine=engine, crf="auto", workers=workers).topology.order
