"""Workers die at chosen points; the stream goes on, and every slot comes home."""

import os
import signal

import pytest

from pipeline.errors import StreamError, WorkerFailed
from tests.stream.playing import CHAIN, FAULTS, play

URI = "synthetic:320x180@60?frames=150"


@pytest.mark.parametrize(
    ("fault", "before", "pacing"),
    [
        ("DieWorking", "preprocess", "lossless"),
        ("DieWorking", "segment", "live"),
        ("DieWorking", "render", "lossless"),
        ("DieBetween", "preprocess", "live"),
        ("DieBetween", "segment", "lossless"),
        ("DieBetween", "render", "live"),
        ("DieBetween", "render", "lossless"),
        ("Raise", "segment", "lossless"),
    ],
)
def test_a_dead_worker_is_replaced_and_its_slots_come_home(fault, before, pacing) -> None:
    """Killed with a frame, killed between owner's word and send, or failed: one restart, few frames lost."""
    place = CHAIN.index(before)
    stages = (*CHAIN[:place], f"{FAULTS}:{fault}", *CHAIN[place:])

    played = play(URI, stages=stages, pacing=pacing)

    frames = played.frames
    n_slots = played.report["slots"]["0"]
    assert played.report["restarts"] == 1
    assert frames["captured"] == 150 == frames["shown"] + sum(frames["dropped"].values())
    assert frames["dropped"].get("lost", 0) <= n_slots
    assert played.free_slots == list(range(n_slots))
    if pacing == "lossless":
        assert frames["shown"] >= 150 - n_slots


@pytest.mark.parametrize("name", CHAIN)
def test_any_worker_may_be_killed_from_outside(name) -> None:
    """SIGKILL to each of the four in turn, at an arbitrary moment."""
    killed = []

    def watch(supervisor) -> None:
        if supervisor.ledgers and supervisor.ledgers[0].shown > 30 and not killed:
            worker = supervisor.crew[name]
            killed.append(worker.popen.pid)
            os.kill(worker.popen.pid, signal.SIGKILL)

    played = play("synthetic:320x180@60?frames=3000", pacing="lossless", watch=watch)

    assert killed
    assert played.report["restarts"] == 1
    assert [(recovery["worker"], recovery["by"]) for recovery in played.report["recoveries"]] == [(name, "restart")]
    assert played.frames["captured"] == 3000
    assert played.frames["shown"] >= 3000 - played.report["slots"]["0"] - 2
    assert played.free_slots == list(range(played.report["slots"]["0"]))


def test_a_worker_that_hangs_is_killed_and_replaced() -> None:
    """Three missed beats are a death."""
    stages = (*CHAIN[:2], f"{FAULTS}:Freeze", *CHAIN[2:])

    played = play(URI, stages=stages, pacing="lossless", restart={"beat_s": 0.2})

    assert "silent" in played.events
    assert played.report["restarts"] == 1
    assert played.frames["shown"] >= 140


def test_a_worker_that_dies_too_often_ends_the_run() -> None:
    """The budget is kept, and the last traceback is told."""
    stages = (*CHAIN[:2], f"{FAULTS}:RaiseAlways", *CHAIN[2:])

    played = play(URI, stages=stages, raises=WorkerFailed, restart={"max_restarts": 1})

    assert "every time" in str(played.error)
    assert "2 deaths" in str(played.error)


def test_a_source_that_cannot_be_opened_ends_the_run(tmp_path) -> None:
    """One error, the source named, nothing restarted."""
    played = play(str(tmp_path / "none.mp4"), raises=StreamError)

    assert "none.mp4" in str(played.error)
    assert played.report["restarts"] == 0


def test_a_stage_that_is_slow_at_every_frame_is_not_taken_for_dead() -> None:
    """Frames that take longer than three beats are work, not silence."""
    played = play(
        "synthetic:320x180@30?frames=3", engine="fake@320x180?work_ms=1000", restart={"beat_s": 0.2}, pacing="lossless"
    )

    assert played.report["restarts"] == 0
    assert played.frames["shown"] == 3
