"""The bar of a terminal, drawn into a string."""

import io
from pathlib import Path

import pytest
import torch  # noqa: F401  # the facts hold tensors
from rich.console import Console

from engines.training.seen.progress import Bar, clock
from tests.engines.training.seen.facts import play


def _terminal(width: int = 110) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width)


def _fail_after_ten_steps(bar: Bar, out: Path) -> None:
    bar.ended = lambda outcome: [][outcome.step]
    play(bar, out, last_step=10)


def test_the_bar_tells_loss_score_speed_and_time_to_go(tmp_path) -> None:
    """What somebody who waits wants to know, on one line, and the evaluations above it."""
    console = _terminal()

    with Bar(console) as bar:
        play(bar, tmp_path)

    drawn = console.file.getvalue()
    for told in ("squares", "40/40", "loss 0.0", "mIoU 0.", "50.0 img/s", "to go", "IoU background"):
        assert told in drawn, told


def test_a_failed_training_leaves_a_terminal_in_order(tmp_path) -> None:
    """Rich hides the cursor; after an error it is shown again."""
    console = _terminal()

    with pytest.raises(IndexError), Bar(console) as bar:
        _fail_after_ten_steps(bar, tmp_path)

    assert console.file.getvalue().rstrip().endswith("\x1b[?25h")


def test_a_resumed_bar_begins_where_the_training_does(tmp_path) -> None:
    """Step 20 of 40 is half a bar, not an empty one."""
    console = _terminal()

    with Bar(console) as bar:
        play(bar, tmp_path, first_step=20, last_step=21)

    assert "20/40" in console.file.getvalue()


@pytest.mark.parametrize(
    ("seconds", "told"), [(41.4, "41 s"), (725, "12:05"), (11220, "3:07:00"), (float("inf"), "0 s")]
)
def test_times_are_told_as_a_clock_does(seconds, told) -> None:
    """Short times in seconds, long ones with hours."""
    assert clock(seconds) == told
