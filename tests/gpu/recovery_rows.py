"""A worker that has the GPU is killed in mid-stream: how long until it is back, and whether its device memory is.

Whole streams with real processes, one cold and one with a standby. On a CPU the fake engine stands in, and nothing is
timed. The trap: on a live stream the picture stands still a little longer than the worker is away, for what was on its
way to it is lost.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from engines.runtime import automatic_backends
from tests.gpu.rows import Row
from tests.stream.playing import play

__all__ = ["recovery_rows"]

GOALS_MS = {0: 6000.0, 1: 1000.0}
"""For each `restart.standby`."""
LEFT_MB = 64.0
"""Of device memory that may be missing when all processes are gone; contexts come and go by a few MB."""
AFTER, SINCE = 60, 60
"""Frames before the worker is killed, and after its successor served."""


def recovery_rows(device: torch.device) -> Iterator[Row]:
    """A row cold and one with a standby, by the best backend of the GPU."""
    is_gpu = device.type == "cuda"
    backends = automatic_backends()
    backend = next((name for name, reason in backends.items() if reason is None), "auto") if is_gpu else "auto"
    engine = "fake@320x180" if not is_gpu else "person@512x288"
    for standby, goal_ms in GOALS_MS.items():
        before = _free_mb(device)
        recovery, frames, told = _killed(engine, backend, standby)
        left = max(0.0, before - _free_mb(device))
        lost = frames["captured"] - frames["shown"] - sum(frames["dropped"].values())
        work = f"killed in mid-stream, {engine}, {'standby' if standby else 'cold'}"
        ms = recovery["ms"] if is_gpu else None
        facts = {"backend": told, "by": recovery["by"], "frames": frames, "device_mb_left": left}
        difference = left if lost == 0 and recovery["by"] == ("standby" if standby else "restart") else float("nan")
        yield Row(work, "memory before", difference, LEFT_MB, "MB", ms, None, None, goal_ms, facts)


def _killed(engine: str, backend: str, standby: int) -> tuple[dict[str, Any], dict[str, Any], str]:
    """The recovery, the frames and the backend of a stream whose segment worker was killed once."""
    played = play(
        "synthetic:640x360@60", engine=engine, backend=backend, pacing="live", watch=_killer(bool(standby)),
        restart={"standby": standby}, build="never",
    )  # fmt: skip
    return played.report["recoveries"][0], played.frames, played.report["backend"]


def _killer(waits_for_standby: bool) -> Callable[[Any], None]:
    """Watches a stream: kills its worker, then drains it when the successor has served for a while."""
    shown_at: dict[str, int] = {}

    def watch(supervisor: Any) -> None:
        if not supervisor.ledgers:
            return
        shown = supervisor.ledgers[0].shown
        is_ready = not waits_for_standby or any(process.is_ready for process in supervisor.standby)
        if "killed" not in shown_at:
            if shown >= AFTER and is_ready:
                shown_at["killed"] = shown
                os.kill(supervisor.crew["segment"].popen.pid, signal.SIGKILL)
        elif supervisor.deaths.recoveries and shown >= shown_at.setdefault("served", shown) + SINCE:
            supervisor.drain()

    return watch


def _free_mb(device: torch.device) -> float:
    if device.type != "cuda":
        return 0.0
    time.sleep(1.0)  # the driver takes a moment to give back what a killed process had
    free, _ = torch.cuda.mem_get_info(device)
    return free / 1e6
