"""Counting and timing: drop causes, percentiles, and the run's ledger.

The ledger lives in shared memory, one per stream: every number has a single writer, so nothing is
locked, and what was counted survives the death of the worker that counted it. Percentiles come from
histograms of 0.5 % wide bins: memory does not grow with the length of a run.
"""

import math
from enum import StrEnum
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.memory import Region

__all__ = ["DropCause", "Histogram", "Ledger", "fps"]


class DropCause(StrEnum):
    """Why a captured frame was not shown."""

    SUPERSEDED = "superseded"
    """A newer frame came before this one could enter the corridor (no free slot, or capture was busy)."""
    LATE = "late"
    """A newer frame was waiting at the door of a stage."""
    STALE = "stale"
    """Its slot was reclaimed, or it was made with settings that a restarted worker no longer has."""
    RESTARTING = "restarting"
    """The next stage's worker was being restarted."""
    SINK = "sink"
    """No sink accepted it."""
    STOPPED = "stopped"
    """The run was ended while it was waiting."""
    LOST = "lost"
    """It was with a worker that died."""


_CAUSES = tuple(DropCause)
_N_WORKERS = 32
_GROWTH = math.log(1.005)
_N_BINS = 4160  # 1 us to 1000 s
_COUNTERS = 11
_CAPTURED, _SHOWN, _FIRST_NS, _LAST_NS, _LAST_SEQUENCE, _OPENED_NS, *_MASK = range(_COUNTERS)
_PAIRS, _STILL, _FLIPPED, _COMMON, _UNITED = _MASK
_HISTOGRAM_WORDS = _N_BINS + 3  # count, sum_ns, max_ns, bins


class Histogram:
    """Times from 1 us to 1000 s in bins of 0.5 %, over memory that the caller owns."""

    def __init__(self, words: NDArray[np.int64] | None = None) -> None:
        self._words = words if words is not None else np.zeros(_HISTOGRAM_WORDS, np.int64)

    def record(self, time_ns: int) -> None:
        """Count one time."""
        words = self._words
        index = int(math.log(time_ns * 1e-3) / _GROWTH) if time_ns > 1000 else 0
        words[3 + min(index, _N_BINS - 1)] += 1
        words[0] += 1
        words[1] += time_ns
        words[2] = max(words[2], time_ns)

    def __len__(self) -> int:
        return int(self._words[0])

    def percentile_ms(self, share: float) -> float:
        """The time that `share` (0 to 1) of the counted ones do not exceed, in ms; 0 when empty."""
        count = int(self._words[0])
        if count == 0:
            return 0.0
        wanted = max(1, math.ceil(share * count))
        index = int(np.searchsorted(np.cumsum(self._words[3:]), wanted))
        middle_us = math.exp((index + 0.5) * _GROWTH)
        return round(min(middle_us * 1e-3, float(self._words[2]) * 1e-6), 3)

    def summary_ms(self) -> dict[str, float]:
        """p50, p95, p99 and the exact maximum, in ms."""
        shares = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
        told = {name: self.percentile_ms(share) for name, share in shares.items()}
        return {**told, "max": round(float(self._words[2]) * 1e-6, 3)}


class Ledger:
    """What one stream's workers counted: frames, drops by cause and worker, times by stage."""

    def __init__(self, region: Region, stages: tuple[str, ...]) -> None:
        self.region = region
        self.stages = stages
        n_drops = _N_WORKERS * len(_CAUSES)
        self._counters = region.array(0, (_COUNTERS,), "int64")
        self._dropped = region.array(_COUNTERS * 8, (_N_WORKERS, len(_CAUSES)), "int64")
        n_histograms = 1 + 2 * len(stages)
        offset = (_COUNTERS + n_drops) * 8
        words = region.array(offset, (n_histograms, _HISTOGRAM_WORDS), "int64")
        self.latency = Histogram(words[0])
        self.wait = {stage: Histogram(words[1 + 2 * i]) for i, stage in enumerate(stages)}
        self.work = {stage: Histogram(words[2 + 2 * i]) for i, stage in enumerate(stages)}

    @staticmethod
    def n_bytes(stages: tuple[str, ...]) -> int:
        """Size of the region for these stages."""
        words = _COUNTERS + _N_WORKERS * len(_CAUSES) + (1 + 2 * len(stages)) * _HISTOGRAM_WORDS
        return words * 8

    @classmethod
    def create(cls, stages: tuple[str, ...]) -> Self:
        """Make an empty ledger."""
        return cls(Region.create(cls.n_bytes(stages), "ledger"), stages)

    @classmethod
    def attach(cls, fd: int, stages: tuple[str, ...]) -> Self:
        """Open a ledger that another process made."""
        return cls(Region(fd, cls.n_bytes(stages)), stages)

    # capture writes these

    def count_captured(self) -> int:
        """Count one frame read from the source; returns its sequence number."""
        sequence = int(self._counters[_CAPTURED])
        self._counters[_CAPTURED] = sequence + 1
        return sequence

    def mark_opened(self, now_ns: int) -> int:
        """Remember when the stream's first frame was read; returns that moment, also after a restart."""
        if self._counters[_OPENED_NS] == 0:
            self._counters[_OPENED_NS] = now_ns
        return int(self._counters[_OPENED_NS])

    # any worker writes its own row

    def count_dropped(self, worker: int, cause: DropCause, n: int = 1) -> None:
        """Count frames that will not be shown; `worker` is the index of the one that dropped them."""
        self._dropped[worker, _CAUSES.index(cause)] += n

    # render writes these

    def count_shown(self, sequence: int, now_ns: int) -> None:
        """Count one frame that at least one sink accepted."""
        counters = self._counters
        if counters[_SHOWN] == 0:
            counters[_FIRST_NS] = now_ns
        counters[_LAST_NS] = now_ns
        counters[_LAST_SEQUENCE] = sequence
        counters[_SHOWN] += 1

    def record_diary(self, captured_ns: int, diary: list[int]) -> None:
        """Turn one slot's diary into wait and work per stage."""
        before = captured_ns
        for index, stage in enumerate(self.stages):
            enter, leave = diary[2 * index], diary[2 * index + 1]
            if enter == 0 or leave == 0:
                continue
            # An inline sink accepts before the next line begins: no time is less than none.
            self.wait[stage].record(max(0, enter - before))
            self.work[stage].record(max(0, leave - enter))
            before = max(leave, enter)

    def count_pair(self, still: int, flipped: int, common: int, united: int) -> None:
        """Add what two neighbouring masks have in common (`pipeline.matte.steadiness.Pair`)."""
        self._counters[_PAIRS] += 1
        for index, n in ((_STILL, still), (_FLIPPED, flipped), (_COMMON, common), (_UNITED, united)):
            self._counters[index] += n

    # anyone reads

    def steadiness(self) -> dict[str, float | int | None]:
        """How steady the masks were, over all pairs that were looked at.

        `flip_share`: of the pixels that did not change, how many changed their label; `warped_iou`: of a mask and the
        one before, moved along the optical flow. None where there was nothing to compare.
        """
        pairs, still, flipped, common, united = (int(self._counters[index]) for index in _MASK)
        return {
            "pairs": pairs,
            "flip_share": round(flipped / still, 6) if still else None,
            "warped_iou": round(common / united, 5) if united else None,
        }

    @property
    def captured(self) -> int:
        """Frames read from the source."""
        return int(self._counters[_CAPTURED])

    @property
    def shown(self) -> int:
        """Frames that at least one sink accepted."""
        return int(self._counters[_SHOWN])

    @property
    def last_sequence(self) -> int:
        """Sequence number of the frame shown last; -1 before the first."""
        return int(self._counters[_LAST_SEQUENCE]) if self._counters[_SHOWN] else -1

    @property
    def first_shown_ns(self) -> int:
        """When the first frame was accepted by a sink; 0 before."""
        return int(self._counters[_FIRST_NS])

    @property
    def last_shown_ns(self) -> int:
        """When the latest frame was accepted by a sink; 0 before the first."""
        return int(self._counters[_LAST_NS])

    def dropped(self) -> dict[str, int]:
        """Drops by cause; what is accounted for nowhere was with a worker that died.

        While a run goes on, frames in flight are not yet counted; ask for `lost` only at its end.
        """
        totals = self._dropped.sum(axis=0)
        return {str(cause): int(n) for cause, n in zip(_CAUSES, totals, strict=True) if n}

    def final_dropped(self, rest: DropCause = DropCause.LOST) -> dict[str, int]:
        """`dropped` at the end of a run: captured = shown + the sum of these.

        Args:
            rest: what became of the frames that no worker counted: `stopped` when the run was cut short with
                frames in the corridor, else `lost`.
        """
        told = self.dropped()
        uncounted = self.captured - self.shown - sum(told.values())
        return {**told, str(rest): told.get(str(rest), 0) + uncounted} if uncounted else told

    def fps(self) -> float:
        """Frames shown a second: n time stamps span n - 1 frames."""
        return fps(self.shown, self.first_shown_ns, self.last_shown_ns)

    def numbers(self) -> dict[str, Any]:
        """What a display shows while the run goes on."""
        return {
            "fps": round(self.fps(), 2),
            "latency_ms": self.latency.summary_ms(),
            "frames": {"captured": self.captured, "shown": self.shown, "dropped": self.dropped()},
            "dropped": self.dropped(),
            "mask_steadiness": self.steadiness(),
        }

    def close(self) -> None:
        """Give up this process's share; nothing can be read afterwards."""
        self._counters, self._dropped = self._counters[:0].copy(), self._dropped[:0].copy()
        self.latency = Histogram()
        self.wait, self.work = {}, {}
        self.region.close()


def fps(n: int, first_ns: int, last_ns: int) -> float:
    """(n - 1) / (last - first); 0 when fewer than two frames were seen."""
    return (n - 1) * 1e9 / (last_ns - first_ns) if n > 1 and last_ns > first_ns else 0.0
