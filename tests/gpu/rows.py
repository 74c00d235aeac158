"""What one line of the GPU report says, and the table of all."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Row", "table"]


@dataclass(frozen=True)
class Row:
    """One work: whether it is right, and how long it takes."""

    work: str
    twin: str
    """What it was compared with."""
    difference: float
    """From the twin, in `unit`."""
    bound: float
    """The largest difference that passes."""
    unit: str
    ms: float | None = None
    """Median; None where nothing was timed: on a CPU times of GPU kernels mean nothing."""
    p95_ms: float | None = None
    launched_ms: float | None = None
    """With the cost of launching; None where `ms` holds it already."""
    goal_ms: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    """What else was seen."""
    refused: str = ""
    """Why it could not be tried on this machine; the row then says nothing else."""

    @property
    def is_right(self) -> bool:
        """Whether the difference is within its bound; NaN is not."""
        return self.difference <= self.bound

    @property
    def is_fast(self) -> bool | None:
        """Whether the goal was reached; None where there is none, or nothing was timed."""
        return None if self.ms is None or self.goal_ms is None else self.ms <= self.goal_ms

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "is_right": self.is_right, "is_fast": self.is_fast}


def table(rows: Sequence[Row]) -> str:
    """All rows below each other, numbers in columns."""
    head = ("work", "twin", "difference", "bound", "ms", "p95", "launched", "goal", "")
    lines = [head]
    for row in rows:
        verdict = "" if row.is_right else "WRONG"
        if row.refused:
            verdict = f"refused: {row.refused}"
        if row.is_fast is not None:
            verdict = f"{verdict} {'reached' if row.is_fast else 'MISSED'}".strip()
        times = [_ms(value) for value in (row.ms, row.p95_ms, row.launched_ms, row.goal_ms)]
        lines.append((row.work, row.twin, f"{row.difference:.3g}", f"{row.bound:.3g} {row.unit}", *times, verdict))
    widths = [max(len(line[at]) for line in lines) for at in range(len(head))]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join("  ".join(line).rstrip() for line in padded)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}" if value < 1 else f"{value:.2f}"
