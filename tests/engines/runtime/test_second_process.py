"""A process to try something with: it says what is wrong with it, and leaves when its owner does."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engines.errors import EngineError
from engines.runtime.second_process import Line, SecondProcess


def fail(line: Line) -> None:
    """A second process with a fault."""
    raise ValueError("a fault\nof two lines")


def wait(line: Line) -> None:
    """A second process that does nothing until its owner is gone."""
    line.receive()


def test_a_fault_of_the_second_process_is_told_in_one_line() -> None:
    """What is no refusal comes with its type."""
    with (
        SecondProcess(f"{__name__}:{fail.__name__}") as second,
        pytest.raises(EngineError, match="ValueError: a fault of"),
    ):
        second.receive(60)


def test_what_is_asked_is_answered_and_closing_ends_it() -> None:
    """Messages go both ways, and the process that nobody talks to any more is gone at once."""
    with SecondProcess(f"{__name__}:{echo.__name__}") as second:
        second.send({"number": 3})
        assert second.receive(60) == {"number": 4}

    assert not Path(f"/proc/{second.pid}").exists()


def test_a_second_process_that_ended_is_told_with_its_code() -> None:
    """Also when something is said to it first."""
    with SecondProcess(f"{__name__}:{leave.__name__}") as second:
        os.waitid(os.P_PID, second.pid, os.WEXITED | os.WNOWAIT)
        second.send({"number": 3})

        with pytest.raises(EngineError, match="the second process ended with exit code 5"):
            second.receive(60)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_second_process_ends_when_its_owner_is_killed() -> None:
    """Nobody is left to end it; the line reads end-of-file."""
    script = (
        f"import time, {__name__} as m; print(m.SecondProcess(m.__name__ + ':wait').pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        owner.send_signal(signal.SIGKILL)

    stat, deadline = Path(f"/proc/{pid}/stat"), time.monotonic() + 60
    while time.monotonic() < deadline and _runs(stat):
        time.sleep(0.05)
    assert not _runs(stat)


def _runs(stat: Path) -> bool:
    try:
        return (
            stat.read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
        )  # a zombie waits for another's parent
    except (FileNotFoundError, ProcessLookupError):
        return False


def echo(line: Line) -> None:
    """A second process that counts."""
    line.send({"number": line.receive()["number"] + 1})
    line.receive()


def leave(line: Line) -> None:
    """A second process that dies."""
    os._exit(5)
