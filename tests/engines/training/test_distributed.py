"""Two processes see what one would have seen."""

import json
import os
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch.distributed as dist

from engines.errors import TrainingError
from engines.training.checkpoint import Checkpoint
from engines.training.distributed import Process, joined
from engines.training.train import run
from engines.training.watch import StepFacts, Watcher
from tests.conftest import ROOT
from tests.engines.training.small import FROZEN, small_config

OPTIONS = (*FROZEN, "augment.bars_share=0.5", "losses.boundary=1", "optimiser.kind=sgd", "schedule.steps=8")
"""Bars, so that the processes have unequal numbers of ignored pixels."""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_have_the_loss_curve_of_one(tmp_path: Path, accumulate: int) -> None:
    """gloo on the CPU, frozen statistics: each step's loss over both equals that of one process with all crops."""
    options = (*OPTIONS, f"schedule.accumulate={accumulate}", *(("losses.dice=0",) if accumulate > 1 else ()))
    alone: list[float] = []

    class Heard(Watcher):
        def stepped(self, facts: StepFacts) -> None:
            alone.append(facts.loss)

    run(small_config(tmp_path, *options), tmp_path / "alone", watchers=[Heard()])

    # What torchrun sets; without its own process to wait for.
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": "2"}
    command = [sys.executable, "-m", "tests.engines.training.child", str(tmp_path), str(tmp_path / "both"), *options]
    processes = [
        subprocess.Popen(command, cwd=ROOT, env={**os.environ, **common, "RANK": rank, "LOCAL_RANK": rank})
        for rank in ("0", "1")
    ]
    try:
        assert [process.wait(timeout=240) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()

    both = json.loads((tmp_path / "both" / "losses.json").read_text())
    # Sums in another order, carried through eight steps of the optimiser; measured 3e-5.
    assert both == pytest.approx(alone, rel=5e-4)
    assert Checkpoint.load(tmp_path / "both" / "last.pt").step == 8


def test_a_batch_that_processes_cannot_share_evenly_is_refused() -> None:
    """Three processes and a batch of 16; four get their own places each."""
    with pytest.raises(TrainingError, match="16 is not a multiple of the 3 processes"):
        Process(0, 3).places(16)

    assert [list(Process(rank, 4).places(8)) for rank in range(4)] == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_pairs_of_frames_that_processes_cannot_share_are_told_by_their_key() -> None:
    """Not as a fault of `schedule.batch`, which may be right."""
    with pytest.raises(TrainingError, match=r"temporal\.batch 3 is not a multiple of the 2 processes"):
        Process(1, 2).places(3, "temporal.batch")


def test_processes_wait_for_a_long_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL gives up after ten minutes of waiting unless told otherwise; the first process may score for longer."""
    asked: dict[str, object] = {}
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(dist, "init_process_group", lambda backend, **options: asked.update(options, backend=backend))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)

    with joined(is_on_gpu=False) as process:
        assert process.n == 2

    assert asked["backend"] == "gloo"
    assert asked["timeout"] >= timedelta(hours=1)
