"""The memory of a process and all its children, as Pss: shared pages count once, not once a process."""

import threading
from pathlib import Path

__all__ = ["PssWatch"]

_PERIOD_S = 0.5


class PssWatch:
    """Samples the sum of Pss of a process tree until stopped; Linux."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stop = threading.Event()
        self._samples_mib: list[float] = []

    def run(self) -> None:
        """Sample; for a thread."""
        while not self._stop.wait(_PERIOD_S):
            pids = _tree(self._pid)
            total = sum(_pss_mib(pid) for pid in pids)
            if total:
                self._samples_mib.append(total)

    def stop(self) -> None:
        """Sample no more."""
        self._stop.set()

    def summary(self) -> dict[str, float]:
        """First and last settled sample (a tenth of the run from either end) and the maximum, in MiB."""
        samples = self._samples_mib
        if not samples:
            return {"first": 0.0, "last": 0.0, "max": 0.0}
        edge = max(1, len(samples) // 10)
        settled = samples[edge:-edge] or samples
        return {"first": round(settled[0], 1), "last": round(settled[-1], 1), "max": round(max(samples), 1)}


def _tree(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text(encoding="ascii").split()]
        except OSError:
            continue  # it ended meanwhile
    return list(dict.fromkeys(found))


def _pss_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)
