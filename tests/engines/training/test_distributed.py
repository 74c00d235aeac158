"""Two processes see what one would have seen."""

import json
import os
import re
import socket
import subprocess
import sys
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
import torch.distributed as dist

from engines.errors import TrainingError
from engines.training.checkpoint import Checkpoint
from engines.training.distributed import Process, failing_together, joined
from engines.training.train import run
from tests.conftest import ROOT
from tests.engines.toy import train_yaml, write_folder
from tests.engines.training.small import FROZEN, small_config

OPTIONS = (*FROZEN, "augment.bars_share=0.5", "losses.boundary=1", "optimiser.kind=sgd", "schedule.steps=4")
"""Bars, so that the processes have unequal numbers of ignored pixels."""
WHOLE = OPTIONS
IN_PARTS = (*OPTIONS, "schedule.accumulate=2", "losses.dice=0")
"""Without dice, which over parts is a mean of means."""
SMALL = ("--set", "model.width=0.25", "--set", "validation=null", "--set", "threads=1")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _two(*commands: list[str]) -> list[subprocess.Popen[str]]:
    """One process for each command, as torchrun starts them; without its own process to wait for."""
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": "2"}
    return [
        subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, command in enumerate(commands)
    ]


def _ended(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Exit codes, and what they said on stderr."""
    with ExitStack() as stack:
        for process in processes:
            stack.enter_context(process)
            stack.callback(process.kill)
        told = [process.communicate(timeout=240)[1] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, told, strict=True)]


@pytest.mark.slow
def test_two_processes_have_the_loss_curve_of_one(tmp_path: Path) -> None:
    """gloo on the CPU, frozen statistics: each step's loss over both equals that of one process with all crops."""
    alone = [
        run(small_config(tmp_path, *options), tmp_path / f"alone{index}").losses
        for index, options in enumerate((WHOLE, IN_PARTS))
    ]

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    words = [str(tmp_path), str(whole), *WHOLE, "then", str(parts), *IN_PARTS]
    command = ["tests.engines.training.child", *words]
    ended = _ended(_two(command, command))

    assert [code for code, _ in ended] == [0, 0], ended
    for out, curve in zip((whole, parts), alone, strict=True):
        both = json.loads((out / "losses.json").read_text())
        # Sums in another order, carried through the steps of the optimiser; measured 3e-5 over eight.
        assert both == pytest.approx(curve, rel=5e-4)
        assert Checkpoint.load(out / "last.pt").step == 4


@pytest.mark.slow
def test_when_one_process_fails_the_other_ends_with_its_word(tmp_path: Path) -> None:
    """A picture is damaged on one machine only: both say so in one line; the other used to end in a traceback."""
    commands = []
    for rank in range(2):
        folder = tmp_path / str(rank)
        small_config_at = train_yaml(tmp_path / f"{rank}.yaml", write_folder(folder, 4), steps=50)
        commands.append(["engines", "train", str(small_config_at), "--out", str(tmp_path / "out"), *SMALL])
    for path in (tmp_path / "1" / "images").iterdir():
        path.write_bytes(b"no picture any more")

    (other_code, other), (code, own) = _ended(_two(*commands))

    assert (other_code, code) == (1, 1)
    assert re.fullmatch(r"error: [^\n]*toy_\d\d\.png: not an image [^\n]*\n", own)
    assert other == f"error: another process failed: process 1: {own.removeprefix('error: ')}"


def test_a_process_that_was_killed_is_told_from_a_mistake_of_our_own() -> None:
    """A lost connection without a word is somebody's death; any other error keeps its own traceback."""
    store = dist.HashStore()

    with pytest.raises(TrainingError, match="another process failed: it left no word; it was killed"):
        _fail(store, RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1234"))
    with pytest.raises(RuntimeError, match=r"^shapes do not fit$"):
        _fail(store, RuntimeError("shapes do not fit"))
    with pytest.raises(TrainingError, match=r"another process failed: process 0: RuntimeError: shapes do not fit$"):
        _fail(store, RuntimeError("Connection reset by peer"), rank=1)


def _fail(store: dist.Store, error: Exception, rank: int = 0) -> None:
    with failing_together(store, rank):
        raise error


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
    monkeypatch.setattr(
        "engines.training.distributed.rendezvous", lambda url, timeout: iter([(dist.HashStore(), 0, 2)])
    )
    monkeypatch.setattr(dist, "init_process_group", lambda backend, **options: asked.update(options, backend=backend))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)

    with joined(is_on_gpu=False) as process:
        assert process.n == 2

    assert asked["backend"] == "gloo"
    assert asked["timeout"] >= timedelta(hours=1)
