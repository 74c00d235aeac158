"""What a row of the CRF's bench is to reach, and what it misses. Rows beside ("noise", "hard") have no goal."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.bench.crf_rows import Row

__all__ = ["GOALS", "Goal", "goal_of", "missed"]


@dataclass(frozen=True)
class Goal:
    """Bounds on the fields of one row."""

    work: str
    """The row's own, or what it begins with when that ends in an ellipsis."""
    method: str
    at_least: Mapping[str, float] = field(default_factory=dict)
    at_most: Mapping[str, float] = field(default_factory=dict)

    def is_of(self, row: Row) -> bool:
        """Whether this row is meant."""
        begin, is_open = self.work.removesuffix("…"), self.work.endswith("…")
        return row.method == self.method and (row.work.startswith(begin) if is_open else row.work == begin)


GOALS = (
    Goal(
        "2 classes, 640x360, 5 iterations, crf-readme", "fast",
        {"ratio": 10, "agreement": 0.999, "worst": 0.998, "boundary_f": 0.99, "worst_boundary_f": 0.985},
    ),
    Goal(
        "2 classes, 640x360, 5 iterations, crf-readme", "exact",
        {"ratio": 3, "agreement": 0.9999}, {"largest_difference": 1e-3},
    ),
    Goal(
        "2 classes, 640x360, 5 iterations, deeplab", "fast",
        {"ratio": 8, "agreement": 0.9985, "boundary_f": 0.99},
    ),
    Goal("21 classes of…", "exact", {"ratio": 2, "agreement": 0.9999}),
    Goal("21 classes of…", "fast", {"ratio": 5, "agreement": 0.9999}),
    Goal("video 640x360, crf-readme…", "fast", {"agreement": 0.995}, {"ms": 10}),
)  # fmt: skip


def goal_of(row: Row) -> Goal | None:
    """The goal of a row; None when it has none."""
    return next((goal for goal in GOALS if goal.is_of(row)), None)


def missed(row: Row) -> list[str]:
    """What a row misses of its goal, a phrase each; empty also without a goal."""
    goal = goal_of(row)
    if goal is None:
        return []
    short = [f"{name} {getattr(row, name):.5g}, at least {bound:g}" for name, bound in goal.at_least.items()
             if not getattr(row, name) >= bound]  # fmt: skip
    over = [f"{name} {getattr(row, name):.5g}, at most {bound:g}" for name, bound in goal.at_most.items()
            if not getattr(row, name) <= bound]  # fmt: skip
    return short + over
