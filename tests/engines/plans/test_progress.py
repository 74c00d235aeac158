"""How far a build is: shares that never fall, the phase for people, and a build that is told to stop."""

from types import SimpleNamespace
from typing import Any

import pytest

from engines.plans import progress
from engines.plans.library import LIBRARIES, Library
from engines.plans.progress import Phases, make_monitor


def test_a_step_of_an_inner_phase_is_part_of_a_step_of_the_outer() -> None:
    """Two of four, and half of the third: five eighths."""
    phases = Phases()
    phases.start("outer", None, 4)
    phases.step("outer", 0)
    phases.step("outer", 1)
    phases.start("inner", "outer", 2)

    phases.step("inner", 0)

    assert phases.share == 0.625
    assert phases.doing == "inner"


def test_the_share_never_falls_and_ends_at_one() -> None:
    """A phase that ends takes its share with it until the outer step is told; the line must not jump back."""
    phases = Phases()
    phases.start("outer", None, 2)
    phases.start("inner", "outer", 2)
    shares = []
    for name, step in (("inner", 0), ("inner", 1), ("outer", 0), ("unknown", 7), ("outer", 1)):
        phases.step(name, step)
        shares.append(phases.share)
        if (name, step) == ("inner", 1):
            phases.finish("inner")

    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_the_time_to_go_is_not_guessed_before_anything_is_done() -> None:
    """Then it follows the share."""
    phases = Phases()
    phases.start("outer", None, 2)
    assert phases.seconds()[1] is None

    phases.step("outer", 0)
    gone_s, left_s = phases.seconds()

    assert left_s is not None
    assert abs(left_s - gone_s) < 1.0


def test_a_step_that_lasts_is_not_told_as_nearly_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """tensorrt_rtx does nearly everything in one step of many: the line said that 0 s were to go, for seconds."""
    now_s = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now_s)
    phases = Phases()
    phases.start("outer", None, 100)
    phases.step("outer", 97)

    now_s += 30

    assert phases.seconds() == (30.0, 30.0)


def test_the_monitor_answers_no_when_the_build_is_to_stop() -> None:
    """TensorRT asks after each step; nothing is ever raised into it."""
    trt: Any = SimpleNamespace(IProgressMonitor=type("IProgressMonitor", (), {}))
    phases = Phases()
    monitor = make_monitor(Library(LIBRARIES["tensorrt"], trt), phases)
    monitor.phase_start("outer", None, 2)

    answers = [monitor.step_complete("outer", 0)]
    phases.is_stopped.set()
    answers.append(monitor.step_complete("outer", 1))
    monitor.phase_finish("outer")

    assert answers == [True, False]
    assert phases.doing == "finishing"
