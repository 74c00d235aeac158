"""A warm replacement takes over when the worker that runs the engine is killed."""

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from configs import ConfigError
from tests.stream.playing import play

ENDLESS = "synthetic:320x180@60"
FAKE = "fake@320x180?work_ms=1"


def acting(*steps: Callable[..., bool]) -> Callable[..., None]:
    """A watcher: each step is tried until it returns True, then the next; after the last the stream is drained."""
    left: Iterator[Callable[..., bool]] = iter(steps)
    now = [next(left, None)]

    def watch(supervisor) -> None:
        if now[0] is not None and now[0](supervisor):
            now[0] = next(left, None)
            if now[0] is None:
                supervisor.drain()

    return watch


def kill_when_ready(pids: list[int], after: int = 30) -> Callable[..., bool]:
    """Kill the segment worker as soon as its standby is ready; notes (killed, standby)."""

    def step(supervisor) -> bool:
        standby = next(iter(supervisor.standby), None)
        if standby is None or not standby.is_ready or supervisor.ledgers[0].shown < after:
            return False
        pids.extend((supervisor.crew["segment"].popen.pid, standby.popen.pid))
        os.kill(pids[-2], signal.SIGKILL)
        return True

    return step


def shown_since(n: int) -> Callable[..., bool]:
    """So many more frames were shown."""
    first: list[int] = []

    def step(supervisor) -> bool:
        first.append(supervisor.ledgers[0].shown)
        return first[-1] >= first[0] + n

    return step


def test_the_standby_takes_over_and_another_one_is_started() -> None:
    """The process that waited is the one that serves; nothing hangs, and the frames add up."""
    pids: list[int] = []
    later: list[int] = []

    def another_waits(supervisor) -> bool:
        standby = next(iter(supervisor.standby), None)
        if standby is None or not standby.is_ready:
            return False
        later.extend((supervisor.crew["segment"].popen.pid, standby.popen.pid))
        return True

    watch = acting(kill_when_ready(pids), shown_since(100), another_waits)
    played = play(ENDLESS, engine=FAKE, pacing="lossless", watch=watch, restart={"standby": 1})

    killed, waited = pids
    assert later[0] == waited
    assert later[1] not in (killed, waited)
    assert played.report["restarts"] == 1
    assert [recovery["by"] for recovery in played.report["recoveries"]] == ["standby"]
    frames, n_slots = played.frames, played.report["slots"]["0"]
    assert frames["captured"] == frames["shown"] + sum(frames["dropped"].values())
    assert frames["dropped"].get("lost", 0) <= n_slots
    assert played.free_slots == list(range(n_slots))


def test_settings_that_changed_meanwhile_are_those_of_the_standby() -> None:
    """Another engine was chosen while it waited: it has that one open when it takes over, and shows with it."""
    pids: list[int] = []

    def change(supervisor) -> bool:
        if not all(standby.is_ready for standby in supervisor.standby) or not list(supervisor.standby):
            return False
        supervisor.change(engine="fake@160x96", strength=0.5)
        return True

    def changed(supervisor) -> bool:
        return supervisor.changes.settings.engine == "fake@160x96"

    watch = acting(change, changed, kill_when_ready(pids), shown_since(60))
    played = play(ENDLESS, engine=FAKE, engines=["fake@160x96"], pacing="lossless", watch=watch, restart={"standby": 1})

    assert [recovery["by"] for recovery in played.report["recoveries"]] == ["standby"]
    assert played.report["engine"] == "fake 160x96 exact"
    assert played.frames["dropped"].get("lost", 0) <= played.report["slots"]["0"]


def test_a_standby_that_is_killed_is_replaced_and_disturbs_nobody() -> None:
    """No restart is counted; the stream does not notice."""
    killed: list[int] = []

    def kill_the_standby(supervisor) -> bool:
        standby = next(iter(supervisor.standby), None)
        if standby is None or not standby.is_ready:
            return False
        killed.append(standby.popen.pid)
        os.kill(killed[0], signal.SIGKILL)
        return True

    def another_waits(supervisor) -> bool:
        standby = next(iter(supervisor.standby), None)
        return standby is not None and standby.is_ready and standby.popen.pid != killed[0]

    watch = acting(kill_the_standby, another_waits)
    played = play(ENDLESS, engine=FAKE, pacing="lossless", watch=watch, restart={"standby": 1})

    assert "standby failed" in played.events
    assert played.report["restarts"] == 0
    assert set(played.frames["dropped"]) <= {"stopped"}, "what capture had in hand when the stream was drained"


def test_a_worker_that_has_sinks_cannot_have_a_standby() -> None:
    """Two processes would write one file; the message says which stages stand in the way."""
    with pytest.raises(ConfigError, match="segment shares a worker with render"):
        play(ENDLESS, workers=[["capture"], ["preprocess"], ["segment", "render"]], restart={"standby": 1})
