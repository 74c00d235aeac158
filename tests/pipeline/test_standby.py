"""The standby and what it knows, with processes that only take notes."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.config import RestartOptions
from pipeline.settings import Settings
from pipeline.standby import MOST_FAILURES, Standby

SETTINGS = Settings(0, "person", ("blur",))


class NotedProcess(SimpleNamespace):
    """A `WorkerProcess` without a process."""

    def __init__(self, incarnation: int) -> None:
        super().__init__(
            name="segment", incarnation=incarnation, endpoints={}, is_ready=False, is_listening=False, is_behind=False,
            is_alive=True, has_gone_silent=False, failure=None, last_beat=0.0, busy_until=0.0, sent=[],
            was_killed=False, popen=SimpleNamespace(pid=1000 + incarnation),
        )  # fmt: skip
        self.lifeline = SimpleNamespace(send=self.sent.append)

    def said(self, message: dict[str, Any]) -> bool:
        return (message["worker"], message["incarnation"]) == (self.name, self.incarnation)

    def is_silent(self, restart: RestartOptions) -> bool:
        return bool(self.has_gone_silent)

    def kill(self) -> None:
        self.was_killed = True

    def ending(self) -> str:
        return "killed by SIGKILL"


class NotedCrew:
    """Starts noted processes."""

    def __init__(self) -> None:
        self.started: list[NotedProcess] = []
        self.settings: list[Settings] = []
        self.buried: list[NotedProcess] = []

    def start(self, name: str, settings: Settings, *, is_standby: bool) -> NotedProcess:
        assert is_standby
        self.settings.append(settings)
        self.started.append(NotedProcess(len(self.started) + 2))
        return self.started[-1]

    def bury(self, process: NotedProcess) -> None:
        self.buried.append(process)


@pytest.fixture
def crew() -> NotedCrew:
    """Nobody is started yet."""
    return NotedCrew()


@pytest.fixture
def notes() -> list[str]:
    """What the events say."""
    return []


@pytest.fixture
def standby(crew: NotedCrew, notes: list[str]) -> Standby:
    """For the worker `segment`, with its process started."""
    plan: Any = SimpleNamespace(name="segment")
    made = Standby(plan, crew, RestartOptions(), lambda _, what, why: notes.append(f"{what}: {why}"))  # type: ignore[arg-type]
    made.follow(SETTINGS)
    return made


def say(standby: Standby, process: NotedProcess, kind: str, **more: Any) -> None:
    """A message of this process."""
    standby.hear({"worker": process.name, "incarnation": process.incarnation, "type": kind, **more})


def make_ready(standby: Standby, process: NotedProcess) -> None:
    """As it would be after its start."""
    standby.listening(f"segment#{process.incarnation}")
    say(standby, process, "engine", engine="person", backend="OpenVINO", choice="", plan=None)
    say(standby, process, "ready", frames="ipc://there")


def test_one_that_is_ready_is_taken_with_its_endpoints_and_its_engine(standby: Standby, crew: NotedCrew) -> None:
    """It can be named in routes at once; the next call starts another."""
    (process,) = crew.started
    make_ready(standby, process)

    taken = standby.take("segment", SETTINGS)

    assert taken is not None
    assert taken.process is process
    assert (process.is_ready, process.is_behind, process.endpoints) == (True, False, {"frames": "ipc://there"})
    assert taken.engine is not None
    assert taken.engine["backend"] == "OpenVINO"
    standby.follow(SETTINGS)
    assert len(crew.started) == 2


def test_it_is_for_one_worker_only(standby: Standby) -> None:
    """Render's death is none of its business."""
    assert standby.take("render", SETTINGS) is None
    assert len(list(standby)) == 1


def test_settings_that_it_prepared_with_the_others_make_it_fit(standby: Standby, crew: NotedCrew) -> None:
    """It heard the proposal like everybody, and answered; nothing more needs to be said."""
    (process,) = crew.started
    make_ready(standby, process)
    later = replace(SETTINGS, epoch=1)
    say(standby, process, "prepared", epoch=1, why="")

    standby.follow(later)
    taken = standby.take("segment", later)

    assert process.sent == []
    assert taken is not None
    assert not process.is_behind


def test_settings_that_it_missed_are_told_to_it_alone_once(standby: Standby, crew: NotedCrew) -> None:
    """It could not hear yet when they were proposed; until it has prepared them it is behind."""
    (process,) = crew.started
    make_ready(standby, process)
    later = replace(SETTINGS, epoch=1)

    standby.follow(later)
    standby.follow(later)
    taken = standby.take("segment", later)

    assert [message["type"] for message in process.sent] == ["prepare", "epoch"]
    assert process.sent[0]["settings"]["epoch"] == 1
    assert taken is not None
    assert (process.is_behind, process.is_ready) == (True, False)


def test_a_proposal_that_it_refused_leaves_it_behind(standby: Standby, crew: NotedCrew) -> None:
    """Others could prepare it, this one could not: it must not serve with the old settings."""
    (process,) = crew.started
    make_ready(standby, process)
    say(standby, process, "prepared", epoch=1, why="no memory")

    standby.take("segment", replace(SETTINGS, epoch=1))

    assert process.is_behind


def test_one_that_died_is_not_taken(standby: Standby, crew: NotedCrew) -> None:
    """A machine out of memory may kill both at once."""
    crew.started[0].is_alive = False

    assert standby.take("segment", SETTINGS) is None


def test_one_that_cannot_live_is_not_started_for_ever(standby: Standby, crew: NotedCrew, notes: list[str]) -> None:
    """After three failures within a minute it is left alone, and the reason is told."""
    for _ in range(10):
        for process in standby:
            process.is_alive = False
        standby.look_after()
        standby.follow(SETTINGS)

    assert len(crew.started) == MOST_FAILURES == len(crew.buried)
    assert notes[-1] == "standby failed: killed by SIGKILL; no other is started after 3 in 60 s"


def test_one_that_is_silent_is_killed(standby: Standby, crew: NotedCrew, notes: list[str]) -> None:
    """Stuck in a driver, it would be of no use when it is needed."""
    crew.started[0].has_gone_silent = True

    standby.follow(SETTINGS)

    assert crew.started[0].was_killed
    assert notes == ["standby failed: it said nothing; killed"]


def test_one_that_cannot_prepare_what_holds_is_replaced(standby: Standby, crew: NotedCrew, notes: list[str]) -> None:
    """It was asked alone and refused: taken like that, it would wait for ever; the next starts with those settings."""
    (process,) = crew.started
    make_ready(standby, process)
    later = replace(SETTINGS, epoch=1)
    say(standby, process, "prepared", epoch=1, why="no memory")
    standby.follow(later)

    say(standby, process, "prepared", epoch=1, why="no memory")
    standby.follow(later)

    assert process.was_killed
    assert notes[-1] == "standby failed: it cannot prepare what holds: no memory"
    assert crew.settings == [SETTINGS, later]


def test_one_that_cannot_be_started_ends_nothing(standby: Standby, crew: NotedCrew, notes: list[str]) -> None:
    """A machine without room for another process streams on without a standby."""

    def full(*_: Any, **__: Any) -> NotedProcess:
        raise OSError(11, "Resource temporarily unavailable")

    standby.end()
    crew.start = full  # type: ignore[method-assign]
    for _ in range(5):
        standby.follow(SETTINGS)

    assert len(notes) == MOST_FAILURES
    assert notes[0] == "standby failed: it cannot be started: Resource temporarily unavailable"


def test_a_dead_one_is_buried_whatever_else_goes_on(standby: Standby, crew: NotedCrew) -> None:
    """Also while a source reopens or the run drains, when no other may be started."""
    crew.started[0].is_alive = False

    standby.look_after()

    assert crew.buried == crew.started
    assert list(standby) == []
