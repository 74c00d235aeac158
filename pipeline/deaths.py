"""How often workers died lately, what that allows, and which backends were given up for it.

A death is counted against `restart.max_restarts`. A worker that lost its GPU (exit code 70) is replaced like any other;
when a backend loses it again and again, `--backend auto` goes on without that backend, and its deaths count no longer.
The trap: a successor is back when it has handed on its first frame, not when it was started.
"""

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from pipeline.config import RestartOptions
from pipeline.process import DEVICE_LOST

__all__ = ["Death", "Deaths"]


@dataclass(frozen=True)
class Death:
    """One death and what follows from it."""

    may_restart: bool
    told: str
    """How it ended and how often that happened: `killed by SIGKILL (2 of 3 in 60 s)`."""
    verdict: str
    """The same for a death that is one too many, with what a person may do."""
    given_up: str
    """What is said of the backend that is given up for it; empty when none is."""
    remedy: str
    """What a person may do; empty when there is nothing to advise."""


class Deaths:
    """The deaths of a run, and the recoveries from them."""

    def __init__(self, restart: RestartOptions, backend: str) -> None:
        self.without: dict[str, str] = {}
        """Backends that were given up, each with the reason; workers are started with it."""
        self.recoveries: list[dict[str, Any]] = []
        """`worker`, `by` (`standby` or `restart`) and `ms`, from noticing the death to the first frame handed on."""
        self._restart = restart
        self._is_auto = backend == "auto"
        self._recent: deque[tuple[float, str | None]] = deque()
        """When, and the backend that lost its GPU."""
        self._open: dict[str, tuple[int, str]] = {}
        """Worker to when its death was noticed (monotonic ns), and who follows."""

    def count(self, why: str, failure: dict[str, Any] | None, code: int | None, *, has_started: bool) -> Death:
        """Note a death.

        Args:
            why: how it ended, for people.
            failure: its last words, if it had any.
            code: of its exit.
            has_started: whether the streams ran already; before that only another backend is worth a try.
        """
        now, window_s = time.monotonic(), self._restart.window_s
        lost: str | None = failure.get("lost") if failure is not None else None
        if lost is None and code == DEVICE_LOST:
            lost = ""
        self._recent.append((now, lost))
        while now - self._recent[0][0] > window_s:
            self._recent.popleft()
        n_lost = sum(backend == lost for _, backend in self._recent) if lost is not None else 0
        given_up = ""
        if lost and self._is_auto and (n_lost >= self._restart.device_losses or not has_started):
            times = f"{n_lost} times in {window_s:g} s" if n_lost > 1 else "once"
            self.without[lost] = f"{lost} lost the GPU {times}"
            given_up = f"{self.without[lost]}; going on with the next backend"
            self._recent = deque(entry for entry in self._recent if entry[1] != lost)
        n, limit = len(self._recent), self._restart.max_restarts
        times = f"{n} of {limit} in {window_s:g} s" if not given_up else "not counted"
        if n_lost > 1 and not given_up:
            times += f"; {n_lost} times it lost the GPU"
        reason = f"{n} deaths in {window_s:g} s" if has_started else "while starting"
        remedy = "" if lost is None else _remedy(self._is_auto)
        return Death(
            may_restart=n <= limit and (has_started or bool(given_up)),
            told=f"{why} ({times})",
            verdict=f"{why} ({reason})" + (f"; {remedy}" if remedy else ""),
            given_up=given_up,
            remedy=remedy,
        )

    def followed(self, worker: str, by: str) -> None:
        """Somebody was put in the place of a worker whose death was noticed just now."""
        noticed_ns = self._open[worker][0] if worker in self._open else time.monotonic_ns()
        self._open[worker] = (noticed_ns, by)

    def served(self, worker: str, at_ns: int) -> dict[str, Any] | None:
        """A worker has handed on its first frame; what its recovery took, or None when it replaced nobody."""
        if worker not in self._open:
            return None
        noticed_ns, by = self._open.pop(worker)
        recovery = {"worker": worker, "by": by, "ms": round((at_ns - noticed_ns) * 1e-6, 1)}
        self.recoveries.append(recovery)
        return recovery


def _remedy(is_auto: bool) -> str:
    told = "look at nvidia-smi and at Xid in the kernel's log, and update the driver if it goes on"
    return told if is_auto else f"{told}; --backend auto goes on with another backend"
