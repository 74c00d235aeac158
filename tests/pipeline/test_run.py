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
