"""What this machine is: cores, CPU features, memory, NVIDIA driver. Reports and `doctor` quote it.

The number of cores that may be *used* is what counts: an affinity mask or a container's quota is
often far below what `os.cpu_count()` says, and a thread pool sized by the latter thrashes.
"""

import ctypes
import math
import os
import platform
from pathlib import Path

__all__ = [
    "CPU_FEATURES",
    "cpu_quota",
    "machine_facts",
    "machine_kind",
    "memory_limit_bytes",
    "nvidia_reason",
    "usable_cores",
]

CPU_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_bf16", "amx_int8")
"""Flags that decide which arithmetic a backend picks."""

_CPUINFO = Path("/proc/cpuinfo")
_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Logical cores this process may keep busy: the affinity mask, cut by a container's quota; at least 1."""
    quota = cpu_quota()
    n_allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return n_allowed if quota is None else max(1, min(n_allowed, math.ceil(quota)))


def cpu_quota() -> float | None:
    """Cores' worth of time a container grants, None without a limit (cgroup v2, then v1)."""
    words = _first_line(_CGROUP / "cpu.max").split()
    if len(words) == 2 and words[0].isdigit():
        return int(words[0]) / int(words[1])
    quota_us = _first_line(_CGROUP / "cpu/cpu.cfs_quota_us")
    period_us = _first_line(_CGROUP / "cpu/cpu.cfs_period_us")
    if quota_us.isdigit() and period_us.isdigit() and int(period_us) > 0:
        return int(quota_us) / int(period_us)
    return None


def memory_limit_bytes() -> int | None:
    """A container's memory limit in bytes, None without one."""
    for file in (_CGROUP / "memory.max", _CGROUP / "memory/memory.limit_in_bytes"):
        text = _first_line(file)
        if text.isdigit() and int(text) < 1 << 60:  # v1 writes a huge number for "no limit"
            return int(text)
    return None


def machine_facts() -> dict[str, object]:
    """Plain values for a report: JSON can hold every one of them."""
    model, flags = _cpu()
    return {
        "cpu": model,
        "cores": os.cpu_count() or 1,
        "usable_cores": usable_cores(),
        "cpu_features": [name for name in CPU_FEATURES if name in flags],
        "memory_bytes": _memory_bytes(),
        "memory_limit_bytes": memory_limit_bytes(),
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "nvidia": nvidia_reason() or "driver present",
    }


def machine_kind() -> str:
    """What speed depends on, in words: `AMD EPYC (avx2 avx512f avx512_vnni), 2 cores, no NVIDIA driver`.

    Two machines of one kind are expected to prefer the same precision; a certificate holds on its own kind only.
    """
    model, flags = _cpu()
    features = " ".join(name for name in CPU_FEATURES if name in flags) or "no vector features known"
    cores = usable_cores()
    gpu = nvidia_reason() or "NVIDIA"
    return f"{model} ({features}), {cores} core{'s' if cores > 1 else ''}, {gpu}"


def nvidia_reason() -> str | None:
    """Why an NVIDIA GPU cannot be used here; None when driver and device are there. Loads libcuda, starts nothing."""
    if not any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg")):
        return "no NVIDIA driver"
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "an NVIDIA device without libcuda.so.1"
    return None


def _cpu() -> tuple[str, frozenset[str]]:
    model, flags = platform.processor() or platform.machine(), frozenset[str]()
    for line in _lines(_CPUINFO):
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            model = value.strip()
        elif key.strip() in ("flags", "Features"):
            flags = frozenset(value.split())
            break
    return model, flags


def _memory_bytes() -> int | None:
    for line in _lines(_MEMINFO):
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []  # not Linux, or hidden by a sandbox: the fact is simply unknown


def _first_line(file: Path) -> str:
    lines = _lines(file)
    return lines[0].strip() if lines else ""
