"""Builders as a run sees them: started, heard, given up. That they build is shown by whole streams."""

import json
import subprocess
import time

import pytest

from configs import load
from engines.errors import BuildError
from engines.runtime import BACKENDS
from engines.runtime.tensorrt_engine import TensorRtEngine
from pipeline.building import Building, ready_plans
from pipeline.config import RunConfig
from pipeline.run import prepare
from tests.engines.runtime.graphs import write_engine

WANTED = {
    "name": "tiny",
    "label": "tiny 64x32 fp32",
    "backend": "tensorrt",
    "source": "no-such-engine",
    "arithmetic": "auto",
    "why": "no plan of it",
}


class Planless(TensorRtEngine):
    """Could run, had it a plan."""

    @classmethod
    def unavailable_reason(cls):
        return None

    @classmethod
    def missing_reason(cls, spec, precision_hint="auto"):
        return "no plan of it"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Makes a run on a machine with TensorRT whose plans cannot be kept."""
    monkeypatch.setitem(BACKENDS, "tensorrt", f"{__name__}:Planless")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "segstream").write_text("no folder")
    engine = str(write_engine(tmp_path / "tiny"))

    def make(**options):
        streams = json.dumps([{"source": "synthetic", "sinks": ["null"]}])
        overrides = [f"streams={streams}", f"engine={engine}", *(f"{key}={value}" for key, value in options.items())]
        return prepare(load(RunConfig, None, overrides))

    return make


def test_a_builder_that_fails_is_told_of_with_its_last_word() -> None:
    """Once in a run: whoever misses the same plan again, after a restart, is not heard."""
    events, built = [], []
    building = Building(lambda *event: events.append(event), lambda *what: built.append(what))
    deadline = time.monotonic() + 30

    building.want(WANTED)
    told = set()
    while len(events) < 2 and time.monotonic() < deadline:
        building.turn()
        told.add(building.told.partition(" (")[0])
        time.sleep(0.02)
    building.want(WANTED)
    building.turn()
    building.end()

    assert [what for _, what, _ in events] == ["building", "failed"]
    assert "tiny 64x32 fp32 for TensorRT: no engine called 'no-such-engine'" in events[1][2]
    assert told == {"building tiny 64x32 fp32", ""}
    (report,) = building.report()
    assert (report["state"], report["command"]) == (
        "failed",
        "python -m engines build no-such-engine --backend tensorrt",
    )
    assert report["output"].startswith("error: no engine called")
    assert not built


def test_a_machine_without_room_for_a_builder_streams_on(monkeypatch) -> None:
    """No more processes: an event with the command, and the run knows of no builder."""
    events = []
    building = Building(lambda *event: events.append(event), lambda *what: None)

    def full(*arguments, **options):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", full)
    building.want(WANTED)
    building.turn()
    building.turn()
    building.end()

    assert [what for _, what, _ in events] == ["failed"]
    assert "Resource temporarily unavailable; python -m engines build no-such" in events[0][2]
    assert building.report()[0]["state"] == "failed"


def test_a_run_that_misses_nothing_builds_nothing() -> None:
    """The usual one."""
    building = Building(lambda *event: pytest.fail("an event"), lambda *what: pytest.fail("a plan"))

    building.want(None)
    building.turn()
    building.end()

    assert (building.told, building.report()) == ("", [])


def test_a_backend_that_was_named_serves_when_its_plan_is_there(run) -> None:
    """Until then anything does; who wants no building is refused when the engine opens, as ever."""
    meanwhile = run(backend="tensorrt")
    engine = meanwhile.engines[0]

    assert meanwhile.settings.opening == (engine, "auto")
    assert run(backend="tensorrt", build="never").settings.opening == (engine, "")
    assert run(backend="auto").settings.opening == (engine, "")


def test_a_plan_that_cannot_be_built_before_the_stream_is_no_end_unless_it_was_named(run) -> None:
    """With `auto` the next backend serves; a name is used or refused. Both have the command."""
    said = []

    ready_plans(run(build="wait"), said.append)
    ready_plans(run(build="background"), said.append)

    assert "tiny 64x32 fp32 for TensorRT, before the stream starts (no plan of it)" in said[0]
    assert "was not built (exit 1, the reason is above); try it alone: python -m engines build" in said[1]
    assert len(said) == 2
    with pytest.raises(BuildError, match="try it alone"):
        ready_plans(run(build="wait", backend="tensorrt"), said.append)
