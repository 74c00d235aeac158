"""A plan is built beside the stream by the real builder, and the stream changes over to it: see `planned.py`."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorrt_rtx

from pipeline.sources import source_from_uri
from tests.stream.planned import BACKEND, WORKERS, alpha_of, engine_at, plan_key, plans
from tests.stream.playing import pictures, play
from tests.stream.test_ends import wait_for

ROOT = Path(__file__).resolve().parents[2]
URI = "synthetic:320x180@30?speed=2000"
assert tensorrt_rtx  # imported here so that this module is skipped by name where it is not installed


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """A graph without a plan, and a cache of plans for this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return engine_at(tmp_path / "engines")


def after(n_frames, is_so):
    """A watch that ends the run so many frames after something has become so."""
    since = []

    def watch(supervisor):
        shown = supervisor.ledgers[0].shown if supervisor.ledgers else 0
        if not since and is_so(supervisor):
            since.append(shown)
        if since and shown >= since[0] + n_frames:
            supervisor.drain()

    return watch


def said(*what):
    """Whether all of these events have been."""
    return lambda supervisor: set(what) <= {event["what"] for event in supervisor.events}


def why(played, what):
    """The reason told with an event."""
    return next(event["why"] for event in played.report["events"] if event["what"] == what)


def assert_no_loss(played):
    """Every frame was shown, but for those that were still at the door when the test ended the run."""
    frames = played.frames
    assert frames["captured"] == frames["shown"] + frames["dropped"].pop("stopped", 0)
    assert not frames["dropped"]


def from_the_graph(picture, sequence, source):
    """Whether a frame, cut out on black, is wholly from the graph (True) or wholly from the plan (False)."""
    image = np.zeros_like(picture)
    source.paint(sequence, image)
    subject = (alpha_of(image) > 0)[..., None]
    of_graph = np.array_equal(picture, np.where(subject, image, 0))
    of_plan = np.array_equal(picture, np.where(subject, 0, image))
    assert of_graph != of_plan, f"frame {sequence} is of neither, or of both"
    return of_graph


def test_the_stream_changes_over_to_the_plan_at_one_frame(engine, tmp_path) -> None:
    """No frame is lost, each is wholly of one engine, the epoch changes once, nothing is started anew."""
    settings = []

    def on_the_plan(supervisor):
        settings[:] = [supervisor.changes.settings]
        return supervisor.engine_told.get("backend") == "Planned"

    played = play(
        URI, f"frames:{tmp_path}/f", watch=after(10, on_the_plan), engine=str(engine), workers=WORKERS,
        pacing="lossless", effect="cutout:black",
    )  # fmt: skip

    shown = pictures(tmp_path / "f")
    source = source_from_uri(URI).open()
    of_graph = [from_the_graph(shown[sequence], sequence, source) for sequence in range(len(shown))]
    assert sorted(shown) == list(range(played.frames["shown"]))
    assert_no_loss(played)
    assert 0 < sum(of_graph) < len(shown) - 5
    assert of_graph == sorted(of_graph, reverse=True)
    assert (settings[0].epoch, settings[0].opening) == (1, (str(engine), BACKEND))
    assert played.events == ["building", "built"]
    assert played.report["restarts"] == 0
    assert played.report["backend"] == "Planned"
    (build,) = played.report["builds"]
    assert (build["state"], build["backend"]) == ("built", BACKEND)
    assert plans().find(plan_key(engine)).load()[:4] == b"vtrt"


def test_a_build_that_fails_leaves_the_stream_alone(engine, tmp_path) -> None:
    """The reason is an event, and no frame notices."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "segstream").write_text("no folder")

    played = play(URI, watch=after(10, said("failed")), engine=str(engine), workers=WORKERS, pacing="lossless")

    assert played.events == ["building", "failed"]
    assert "check the path" in why(played, "failed")
    assert played.report["builds"][0]["state"] == "failed"
    assert played.report["backend"].startswith("OpenVINO")
    assert_no_loss(played)


def test_a_plan_that_does_not_open_leaves_the_old_engine_serving(engine, monkeypatch) -> None:
    """It was built, and the driver refuses it: an event, and no frame notices."""
    monkeypatch.setenv("SEGTEST_PLAN", "refused")

    played = play(
        URI, watch=after(10, said("settings refused")), engine=str(engine), workers=WORKERS, pacing="lossless"
    )

    assert played.events == ["building", "built", "settings refused"]
    assert "driver is too old" in why(played, "settings refused")
    assert played.report["backend"].startswith("OpenVINO")
    assert_no_loss(played)
    assert played.report["restarts"] == 0


def test_a_builder_ends_with_its_run(engine) -> None:
    """A run that ends early kills it, and says how to build the plan alone."""
    with plans().building(plan_key(engine).digest):  # the builder waits for this lock
        played = play(URI, watch=after(10, said("building")), engine=str(engine), workers=WORKERS, pacing="lossless")

    assert played.events == ["building", "stopped"]
    assert f"python -m engines build {engine.parent}" in why(played, "stopped")
    assert_no_loss(played)
    assert not list(plans().folder.glob("*.plan"))


def test_a_builder_ends_with_a_killed_run(engine, tmp_path) -> None:
    """SIGKILL to the command line, which can tell nobody: the builder sees it by itself."""
    with plans().building(plan_key(engine).digest):
        with started(engine, tmp_path, "--build", "wait"):  # beside a stream it is started in the same way
            wait_for(builders, timeout_s=60)

        wait_for(lambda: not builders(), timeout_s=10)


def test_a_plan_is_built_before_the_stream_when_asked(engine, tmp_path) -> None:
    """The first frame is the plan's already."""
    asked = ("--build", "wait", "--max-frames", "5", "--effect", "cutout:black", "--edges", "linear")
    with started(
        engine, tmp_path, *asked, "--set", f"workers={json.dumps(WORKERS)}", sink=f"frames:{tmp_path}/f"
    ) as process:
        told, _ = process.communicate(timeout=90)

    source = source_from_uri(URI).open()
    assert process.returncode == 0, told.decode()
    assert "before the stream starts (no plan of" in told.decode()
    shown = pictures(tmp_path / "f")
    assert [from_the_graph(shown[sequence], sequence, source) for sequence in range(5)] == [False] * 5


def test_ctrl_c_while_a_plan_is_waited_for_leaves_nothing(engine, tmp_path) -> None:
    """The builder is told, ends, and the run with it; no file but the lock stays."""
    with plans().building(plan_key(engine).digest), started(engine, tmp_path, "--build", "wait") as process:
        wait_for(builders, timeout_s=60)
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=20)

    assert process.returncode == 130, told.decode()
    assert not builders()
    assert {path.suffix for path in plans().folder.iterdir()} == {".lock"}


def test_an_engine_that_kills_its_worker_does_not_get_to_serve(engine) -> None:
    """It is tried once more after the restart; then the old one serves on, with an event, and the run does not end."""
    asked = []

    def watch(supervisor):
        if supervisor.ledgers and supervisor.ledgers[0].shown > 10 and not asked:
            asked.append(1)
            supervisor.changes.open_with(str(engine), "deadly")
        end(supervisor)

    end = after(10, said("settings refused"))

    played = play(URI, watch=watch, engine=str(engine), workers=WORKERS, pacing="lossless", build="never")

    assert "died twice while preparing" in why(played, "settings refused")
    assert played.report["restarts"] == 2
    assert played.report["backend"].startswith("OpenVINO")


@contextlib.contextmanager
def started(engine, folder, *arguments, sink="null"):
    """The command line in a process of its own that knows the fakes; it is killed at the end."""
    code = "import sys; from tests.stream.planned import register; register(); from run_stream import main; main()"
    command = [sys.executable, "-c", code, "run", URI, "--engine", str(engine), "--sink", sink, *arguments]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def builders():
    """Processes but this one that wait for a lock among the plans."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):  # it ended while we looked
            if link.readlink().parent == plans().folder and int(link.parts[2]) != os.getpid():
                found.add(int(link.parts[2]))
    return found
