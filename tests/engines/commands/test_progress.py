"""The line that says how far a command is."""

import sys

import pytest

from engines.commands import progress
from engines.commands.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that pass when the test says so."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_short_command_says_nothing(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    """Half a second of pictures needs no line."""
    with Progress("evaluate", 5) as line:
        for _ in range(5):
            clock[0] += 0.1
            line.step()

    assert capsys.readouterr().err == ""


def test_a_log_gets_a_line_now_and_then(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    """Every half minute, each a line of its own."""
    with Progress("evaluate", 100) as line:
        for _ in range(70):
            clock[0] += 1
            line.step()

    assert capsys.readouterr().err.splitlines() == [
        "evaluate: 30 of 100 pictures, 1.0 a second, 70 s to go",
        "evaluate: 60 of 100 pictures, 1.0 a second, 40 s to go",
    ]


def test_a_terminal_has_one_line_that_is_cleared(
    clock: list[float], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rewritten in place; of an unknown number only the pace is told."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    with Progress("compare", None) as line:
        for _ in range(3):
            clock[0] += 2
            line.step()

    told = capsys.readouterr().err
    assert "\n" not in told
    assert "compare: 3 pictures, 0.5 a second" in told
    assert told.endswith("\r\x1b[K")
