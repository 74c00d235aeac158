"""When a stage is too slow for its sources, and for long enough to do something about it.

Under live pacing a slow CRF shows every third frame; a lighter one, or none, shows them all. Decided from what the
stage itself sees: how long its work takes, and when its frames were captured. The trap: a stage behind a slow engine
also misses frames and cannot help it, so only a stage that is busy all the time counts as too slow.
"""

from dataclasses import dataclass, field
from statistics import median

from engines.crf import unavailable_reason

__all__ = ["Pace", "TooSlow", "rungs_of"]

LADDER = ("reference", "exact", "fast")
"""Methods of the CRF on a CPU, the heavier before the lighter; below the last, and below any other, there is none."""

BLOCK_NS = 1_000_000_000
FEWEST_FRAMES = 2
"""A block is at least so long and has at least so many frames: of two, an interval can be told."""
BLOCKS = 2
"""So many in a row must be too slow: one slow frame is nothing, and one slow second may be another program's."""
BUSY = 0.9
"""Share of a block that a stage works which never waits for frames; the rest is handing them on."""


def rungs_of(method: str, pacing: str) -> tuple[str, ...]:
    """A CRF's method, and under live pacing the lighter ones that are installed, to step down to one by one."""
    lighter = LADDER[LADDER.index(method) + 1 :] if pacing == "live" and method in LADDER else ()
    return (method, *(name for name in lighter if unavailable_reason(name) is None))


@dataclass(frozen=True)
class TooSlow:
    """What was seen in the last block."""

    work_ms: float
    """Of a frame, the median."""
    interval_ms: float
    """Between two frames of all sources together."""


@dataclass
class _Block:
    began_ns: int
    works_ns: list[int] = field(default_factory=list)
    first: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Stream to (sequence, captured_ns)."""
    last: dict[int, tuple[int, int]] = field(default_factory=dict)


class Pace:
    """Watches one stage's work, block by block; the first block after a change is not judged."""

    def __init__(self) -> None:
        self._block: _Block | None = None
        self._seen: dict[int, tuple[int, int]] = {}
        """Each stream's last frame of the block before: of several streams a block may have one frame each."""
        self._n_slow = 0
        self._is_settled = False

    def look(self, stream: int, sequence: int, captured_ns: int, began_ns: int, ended_ns: int) -> TooSlow | None:
        """Take note of one frame's work.

        Args:
            stream, sequence, captured_ns: which frame, and when its source gave it.
            began_ns, ended_ns: of the work, on the same clock.

        Returns:
            What was seen, once the stage was too slow in `BLOCKS` blocks one after another; watching then starts anew.
        """
        block = self._block
        if block is None:
            block = self._block = _Block(began_ns, first=dict(self._seen))
        block.works_ns.append(ended_ns - began_ns)
        block.first.setdefault(stream, (sequence, captured_ns))
        block.last[stream] = (sequence, captured_ns)
        elapsed_ns = ended_ns - block.began_ns
        if elapsed_ns < BLOCK_NS or len(block.works_ns) < FEWEST_FRAMES:
            return None
        self._block, self._seen = None, block.last
        was_settled, self._is_settled = self._is_settled, True
        seen = _judged(block, elapsed_ns) if was_settled else None
        self._n_slow = 0 if seen is None else self._n_slow + 1
        if self._n_slow < BLOCKS:
            return None
        self.start_anew()
        return seen

    def start_anew(self) -> None:
        """Forget what was seen: the work is another from now on."""
        self._block, self._n_slow, self._is_settled = None, 0, False
        self._seen = {}


def _judged(block: _Block, elapsed_ns: int) -> TooSlow | None:
    """Too slow: busy all the time, and a frame takes longer than the sources take to give one."""
    per_ns = 0.0
    for stream, (sequence, captured_ns) in block.last.items():
        first_sequence, first_ns = block.first[stream]
        if sequence > first_sequence and captured_ns > first_ns:
            # As captured, dropped ones included: a camera in the dark gives fewer than it promised.
            per_ns += (sequence - first_sequence) / (captured_ns - first_ns)
    work_ns = median(block.works_ns)
    if work_ns * per_ns <= 1 or sum(block.works_ns) < BUSY * elapsed_ns:
        return None
    return TooSlow(work_ns / 1e6, 1 / per_ns / 1e6)
