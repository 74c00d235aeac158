"""The page at the end of a run: what it says, and that its pictures are there."""

import re

import cv2
import pytest
import torch

from engines.models.deeplab import build
from engines.training.checkpoint import Checkpoint
from engines.training.seen.history import History
from engines.training.seen.recorder import Recorder
from engines.training.seen.report import Report
from engines.training.watch import Watcher
from tests.engines.toy import CLASSES
from tests.engines.training.seen.facts import TINY, config, play


class Both(Watcher):
    """The recorder, then the report."""

    def __init__(self) -> None:
        self.watchers = (Recorder(), Report("python -m engines train squares.yaml --out runs/squares"))

    def __getattribute__(self, name):
        if name not in {"started", "stepped", "evaluated", "warned", "ended"}:
            return super().__getattribute__(name)
        return lambda *facts: [getattr(watcher, name)(*facts) for watcher in self.watchers]


@pytest.fixture
def best(tmp_path):
    """A `best.pt` of noise."""
    torch.manual_seed(0)
    options = config(model=TINY)
    weights = build(options.model, len(CLASSES)).state_dict()
    checkpoint = Checkpoint(name="squares", model=options.model, meaning=options.meaning, weights=weights, step=40)
    checkpoint.save(tmp_path / "best.pt")
    return tmp_path / "best.pt"


def test_a_finished_run_tells_everything(tmp_path, best) -> None:
    """Scores of every class, how to do it again, and pictures that exist and can be read."""
    play(Both(), tmp_path, best_path=best)

    page = (tmp_path / "report.md").read_text()
    for told in ("finished its 40 steps", "| background | 0.", "| square | ", "mIoU", "boundary F", "Of `best.pt`"):
        assert told in page, told
    for told in ("python -m engines train squares.yaml", "M parameters", "name: squares", "usable cores", "torch 2"):
        assert told in page, told
    pictures = re.findall(r"!\[.*?\]\((.+?)\)", page)
    assert len(pictures) == 3
    assert all(cv2.imread(str(tmp_path / path)) is not None for path in pictures)
    assert not re.search(r"\bnan\b", page)


def test_a_stopped_run_has_curves_and_says_how_to_go_on(tmp_path) -> None:
    """Whoever stops a training wants it to end: nothing is scored again."""
    play(Both(), tmp_path, last_step=25)

    page = (tmp_path / "report.md").read_text()
    assert "**stopped** at step 25 of 40" in page
    assert "--resume" in page
    assert "report/curves.png" in page
    assert "confusion" not in page


def test_the_history_of_a_resumed_run_is_one_line_long_life(tmp_path) -> None:
    """Stopped at 25, resumed there: every step is in one line and only one."""
    play(Recorder(), tmp_path, last_step=25)
    play(Recorder(), tmp_path, first_step=25)

    history = History(tmp_path / "history.jsonl")
    assert [row.step for row in history.trained] == [10, 20, 25, 30, 40]
    assert [row.step for row in history.scored] == [20, 40]
    assert history.trained[0].loss == pytest.approx(sum(1 / step for step in range(1, 11)) / 10)
    assert history.trained[3].loss == pytest.approx(sum(1 / step for step in range(26, 31)) / 5)
    assert history.trained[0].terms["dice"] == pytest.approx(0.75 * history.trained[0].loss)


def test_warnings_of_a_run_are_on_its_page(tmp_path) -> None:
    """What went wrong on the way matters to who reads the figures."""
    both = Both()
    both.warned("the teacher knows no class `square`")

    play(both, tmp_path, last_step=5)

    assert "> the teacher knows no class `square`" in (tmp_path / "report.md").read_text()
