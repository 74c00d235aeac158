"""The memory of a training outlives the process, and forgets what is trained again."""

import math

import pytest

from engines.errors import DataError
from engines.training.seen.history import History, Scored, Trained
from engines.training.seen.recorder import Recorder
from tests.engines.training.seen.facts import Both, FullDisk, play
from tests.pipeline.sinks.limit import files_of_at_most


def _filled(path) -> History:
    history = History(path)
    history.cut(0)
    for step in (10, 20, 30):
        history.add(Trained(step, 1 / step, {"cross_entropy": 0.5}, {"head": 0.1}, 12.0))
    history.add(Scored(20, 0.4, {"background": 0.5, "square": math.nan}))
    return history


def test_a_history_is_read_back_as_it_was_written(tmp_path) -> None:
    """Every figure survives the file, nan included."""
    written = _filled(tmp_path / "history.jsonl")

    read = History(tmp_path / "history.jsonl")

    assert read.trained == written.trained
    assert read.scored[0].iou["background"] == 0.5
    assert math.isnan(read.scored[0].iou["square"])


def test_a_resumed_run_forgets_what_it_trains_again(tmp_path) -> None:
    """A checkpoint of step 20 goes on from there: the line of step 30 is gone from memory and file."""
    history = _filled(tmp_path / "history.jsonl")

    history.cut(20)

    for kept in (history, History(tmp_path / "history.jsonl")):
        assert [row.step for row in kept.trained] == [10, 20]
        assert [row.step for row in kept.scored] == [20]


def test_half_a_line_at_the_end_is_no_harm(tmp_path) -> None:
    """A kill in the middle of writing leaves a broken last line; the rest is read."""
    path = tmp_path / "history.jsonl"
    _filled(path)
    path.write_text(path.read_text()[:-20])

    assert [row.step for row in History(path).trained] == [10, 20, 30]


def test_lines_that_a_full_disk_did_not_take_come_later(tmp_path) -> None:
    """No half line stays in the middle, which would make the file unreadable, and no row is lost."""
    path = tmp_path / "history.jsonl"
    history = _filled(path)
    before = path.read_bytes()

    with files_of_at_most(len(before) + 20), pytest.raises(OSError, match="File too large"):
        history.add(Trained(40, 0.1))
    assert path.read_bytes() == before
    history.add(Trained(50, 0.1))

    assert [row.step for row in History(path).trained] == [10, 20, 30, 40, 50]


def test_a_full_disk_does_not_end_a_training_for_its_history(tmp_path) -> None:
    """It is told once, and the run goes on; the lines are there when there is room again."""
    said: list[str] = []

    with FullDisk(5, 35) as disk:
        play(Both(disk, Recorder(said.append)), tmp_path)

    assert len(said) == 1
    assert "history.jsonl: cannot be written (File too large); training goes on" in said[0]
    assert [row.step for row in History(tmp_path / "history.jsonl").trained] == [10, 20, 30, 40]


def test_a_foreign_line_is_refused_by_its_number(tmp_path) -> None:
    """A file that something else wrote is named, with the line, and left alone."""
    path = tmp_path / "history.jsonl"
    path.write_text('{"something": "else"}\n{}\n')

    with pytest.raises(DataError, match=r"history\.jsonl:1"):
        History(path)


def test_the_best_evaluation_is_the_last_of_equals(tmp_path) -> None:
    """`best.pt` is replaced when a later evaluation is as good, so the report names that one."""
    history = History(tmp_path / "history.jsonl")
    assert history.best is None

    for step, miou in ((1, 0.2), (2, 0.9), (3, 0.9), (4, math.nan), (5, 0.3)):
        history.add(Scored(step, miou))

    assert history.best is not None
    assert history.best.step == 3
