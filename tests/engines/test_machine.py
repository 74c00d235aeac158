"""Facts of the machine that reports and `doctor` quote."""

import json
import os
from pathlib import Path

import pytest

from engines import machine


def test_the_facts_can_be_written_as_json() -> None:
    """A report holds them as they are."""
    facts = machine.machine_facts()

    assert json.loads(json.dumps(facts)) == facts
    assert facts["usable_cores"] == machine.usable_cores()


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
    ids=["v2", "v2 no limit", "v1", "v1 no limit", "no cgroup"],
)
def test_a_containers_quota_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], quota: float | None
) -> None:
    """Both generations of cgroups tell how much time a container gets."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)

    assert machine.cpu_quota() == quota


def test_threads_follow_the_smaller_of_mask_and_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool of threads is never larger than what may run at once, and never empty."""
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))

    assert machine.usable_cores() == 8
    (tmp_path / "cpu.max").write_text("250000 100000")
    assert machine.usable_cores() == 3
    (tmp_path / "cpu.max").write_text("1000 100000")
    assert machine.usable_cores() == 1


def test_the_features_of_the_cpu_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the flags that decide arithmetic are kept."""
    (tmp_path / "cpuinfo").write_text("model name\t: Some CPU\nflags\t\t: fpu avx2 avx512f avx512_bf16\n\n")
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "cpuinfo")

    facts = machine.machine_facts()

    assert facts["cpu"] == "Some CPU"
    assert facts["cpu_features"] == ["avx2", "avx512f", "avx512_bf16"]


def test_unknown_facts_are_left_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where /proc cannot be read a fact is missing, and nothing fails."""
    for name in ("_CPUINFO", "_MEMINFO", "_CGROUP"):
        monkeypatch.setattr(machine, name, tmp_path / "absent")

    facts = machine.machine_facts()

    assert facts["memory_bytes"] is None
    assert facts["memory_limit_bytes"] is None
    assert facts["cpu_features"] == []


def test_a_memory_limit_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The huge number of the first cgroups means no limit."""
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("1073741824\n")
    assert machine.memory_limit_bytes() == 1 << 30

    (tmp_path / "memory.max").write_text("9223372036854771712\n")
    assert machine.memory_limit_bytes() is None
