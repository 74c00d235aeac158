"""A training that is killed or stopped in the middle, and resumed, ends with the weights of one that was not."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from engines.training.checkpoint import Checkpoint
from engines.training.train import run
from tests.conftest import ROOT
from tests.engines.training.small import small_config

OPTIONS = ("schedule.save_every=2", "model.dropout=0.1", "schedule.average_decay=0.9")
"""With dropout, so that random numbers of the steps must come back too."""


def _child(folder: Path, out: Path, *words: str) -> int:
    command = [sys.executable, "-m", "tests.engines.training.child", str(folder), str(out), *words, *OPTIONS]
    return subprocess.run(command, cwd=ROOT, timeout=240, check=False).returncode


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, and `whole`: the training that nothing happened to."""
    folder = tmp_path_factory.mktemp("interrupted")
    run(small_config(folder, *OPTIONS), folder / "whole")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("name", "saved"), [("SIGKILL", 2), ("SIGTERM", 3)])
def test_a_killed_training_resumes_to_the_same_weights(folder: Path, name: str, saved: int) -> None:
    """The signal comes after step 3 of 6: a kill falls back to step 2, a stop saves step 3; bit for bit the same end.

    Two real processes, the one that dies and this one: what a process keeps in memory between steps (momentum, random
    state, crops made ahead) must all be in the file, or not matter.
    """
    code = _child(folder, folder / name, f"{name}@3")
    assert Checkpoint.load(folder / name / "last.pt").step == saved
    run(small_config(folder, *OPTIONS), folder / name, resume=True)

    assert code == (-signal.SIGKILL if name == "SIGKILL" else 0)
    whole, resumed = (Checkpoint.load(folder / out / "last.pt") for out in ("whole", name))
    assert resumed.step == whole.step == 6
    for name_, value in whole.weights.items():
        assert torch.equal(value, resumed.weights[name_]), name_
    for name_, value in whole.training["model"].items():
        assert torch.equal(value, resumed.training["model"][name_]), name_
