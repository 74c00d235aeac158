"""The report's hops: on a CPU, and with files in the place of device memory, between two real processes."""

import json
import os
from pathlib import Path

import pytest
import torch

from tests.engines.runtime import host_cuda
from tests.gpu.hop_rows import GOAL_MS, hop_rows, rows_of

pytestmark = pytest.mark.torch


def test_without_a_gpu_frames_arrive_and_nothing_is_timed() -> None:
    """Every frame goes through the slots of two processes; CUDA IPC says what it needs."""
    rows = list(hop_rows(torch.device("cpu"), is_quick=True))

    assert [row.work for row in rows[:2]] == ["hop of 192x112x3, slots", "hop of 192x112x3, CUDA IPC"]
    assert [row.refused[:11] for row in rows] == ["", "needs a GPU"] * 2
    assert all(row.is_right and row.ms is None and "ticket_ms" not in row.facts for row in rows)


def test_both_ways_are_compared_where_memory_is_shared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Times of both and of the ticket alone, their ratio, the probe's answer; and nothing is left behind."""
    memory = host_cuda.install(monkeypatch, tmp_path)

    slots, shared = rows_of(64, 36, "shared", None, (1, 4), GOAL_MS)

    assert (slots.is_right, shared.is_right) == (True, True)
    assert shared.facts["probe"] == "passed"
    assert slots.ms == shared.facts["slots_ms"]
    assert shared.facts["of_slots"] == pytest.approx((shared.ms or 0.0) / (slots.ms or 1.0))
    assert (slots.goal_ms, shared.goal_ms) == (None, GOAL_MS)
    assert list(memory.iterdir()) == []


def test_a_frame_that_does_not_arrive_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Memory that is a copy, after all: the second process takes what lay there when it was opened."""
    memory = host_cuda.install(monkeypatch, tmp_path)
    monkeypatch.setenv("HOST_CUDA_ACTS", json.dumps({"cudaIpcOpenMemHandle": "empty"}))

    slots, shared = rows_of(64, 36, "shared", None, (0, 3), GOAL_MS)

    assert (slots.is_right, shared.is_right) == (True, False)
    assert list(memory.iterdir()) == []


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        ({"cudaIpcOpenMemHandle": "die"}, "the second process ended with exit code 3"),
        ({"cudaStreamWaitEvent": "die"}, "the second process ended with exit code 3"),
    ],
)
def test_a_second_process_that_dies_is_a_refusal(
    act: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Before the first frame or with one: both rows say so, and the report goes on."""
    memory = host_cuda.install(monkeypatch, tmp_path)
    monkeypatch.setenv("HOST_CUDA_ACTS", json.dumps(act))

    rows = list(rows_of(64, 36, "shared", None, (0, 3), GOAL_MS))

    assert [row.refused for row in rows] == [expected] * 2
    assert [path.name for path in memory.iterdir() if f"-{os.getpid()}-" in path.name] == [], "the owner gives back"


def test_where_nothing_is_shared_the_slots_are_timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By any device; the other row has the probe's answer."""
    memory = host_cuda.install(monkeypatch, tmp_path)

    slots, shared = rows_of(64, 36, "own", "WSL 2 has none", (0, 3), GOAL_MS)

    assert slots.is_right
    assert slots.ms is not None
    assert (shared.refused, shared.facts["probe"]) == ("WSL 2 has none", "WSL 2 has none")
    assert list(memory.iterdir()) == []


def test_slots_that_are_not_locked_are_not_told_as_such(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The other way is timed all the same, without a ratio."""
    host_cuda.install(monkeypatch, tmp_path)
    monkeypatch.setenv("HOST_CUDA_ERRORS", json.dumps({"cudaHostRegister": 2}))

    slots, shared = rows_of(64, 36, "shared", None, (0, 3), GOAL_MS)

    assert slots.refused.startswith("cudaHostRegister: CUDA error 2")
    assert shared.is_right
    assert "of_slots" not in shared.facts
