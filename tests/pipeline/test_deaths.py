"""What a death costs: the budget, the backend, and how long it took to be back."""

import pytest

from pipeline import deaths as deaths_module
from pipeline.config import RestartOptions
from pipeline.deaths import Deaths
from pipeline.process import DEVICE_LOST

LOST = {"lost": "tensorrt"}


@pytest.fixture
def clock(monkeypatch):
    """Seconds and nanoseconds that a test sets."""
    now = [100.0]
    monkeypatch.setattr(deaths_module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(deaths_module.time, "monotonic_ns", lambda: int(now[0] * 1e9))
    return now


def test_deaths_beyond_the_budget_end_the_run_and_old_ones_are_forgotten(clock) -> None:
    """Two within a minute are one too many here; a minute later the count starts anew."""
    deaths = Deaths(RestartOptions(max_restarts=1), "auto")

    assert deaths.count("killed by SIGKILL", None, -9, has_started=True).told == "killed by SIGKILL (1 of 1 in 60 s)"
    second = deaths.count("killed by SIGKILL", None, -9, has_started=True)
    clock[0] += 61
    later = deaths.count("killed by SIGKILL", None, -9, has_started=True)

    assert (second.may_restart, second.verdict) == (False, "killed by SIGKILL (2 deaths in 60 s)")
    assert later.may_restart


def test_a_death_before_the_first_frame_ends_the_run(clock) -> None:
    """What fails at once fails again."""
    death = Deaths(RestartOptions(), "auto").count("exit 1", None, 1, has_started=False)

    assert (death.may_restart, death.verdict) == (False, "exit 1 (while starting)")


def test_a_backend_that_loses_the_gpu_again_is_given_up_and_its_deaths_with_it(clock) -> None:
    """The next backend starts with a whole budget; the reason travels with every worker started from now on."""
    deaths = Deaths(RestartOptions(max_restarts=2), "auto")

    first = deaths.count("exit 70", LOST, DEVICE_LOST, has_started=True)
    second = deaths.count("exit 70", LOST, DEVICE_LOST, has_started=True)

    assert (first.given_up, first.told) == ("", "exit 70 (1 of 2 in 60 s)")
    assert second.given_up == "tensorrt lost the GPU 2 times in 60 s; going on with the next backend"
    assert deaths.without == {"tensorrt": "tensorrt lost the GPU 2 times in 60 s"}
    for _ in range(2):
        assert deaths.count("exit 1", None, 1, has_started=True).may_restart


def test_two_backends_are_counted_apart(clock) -> None:
    """One loss each gives up neither."""
    deaths = Deaths(RestartOptions(), "auto")

    given_up = [deaths.count("", {"lost": name}, 70, has_started=True).given_up for name in ("tensorrt", "torch_cuda")]

    assert given_up == ["", ""]


def test_a_backend_that_was_named_is_never_given_up(clock) -> None:
    """Its losses are deaths, and the last one says what to look at."""
    deaths = Deaths(RestartOptions(max_restarts=1), "tensorrt")

    deaths.count("exit 70", LOST, DEVICE_LOST, has_started=True)
    last = deaths.count("exit 70", LOST, DEVICE_LOST, has_started=True)

    assert deaths.without == {}
    assert not last.may_restart
    assert last.verdict.startswith("exit 70 (2 deaths in 60 s); look at nvidia-smi")
    assert last.verdict.endswith("--backend auto goes on with another backend")


def test_an_exit_with_70_and_no_word_counts_as_a_lost_gpu(clock) -> None:
    """Nobody knows which backend, so none is given up; what to look at is told all the same."""
    death = Deaths(RestartOptions(max_restarts=0), "auto").count("exit 70", None, DEVICE_LOST, has_started=True)

    assert not death.given_up
    assert "look at nvidia-smi" in death.verdict


def test_a_recovery_lasts_until_the_first_frame_of_the_successor(clock) -> None:
    """Also when the successor dies before it: the picture stood still since the first death."""
    deaths = Deaths(RestartOptions(), "auto")
    deaths.followed("segment", "standby")
    clock[0] += 1.0
    deaths.followed("segment", "restart")

    assert deaths.served("render", 0) is None
    assert deaths.served("segment", int(102.5e9)) == {"worker": "segment", "by": "restart", "ms": 2500.0}
    assert deaths.served("segment", int(103e9)) is None
    assert len(deaths.recoveries) == 1
