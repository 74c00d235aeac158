"""What the rows mean: which pairs are too far apart, what is the fault's name, and how it is told.

The trap: two nan are equal here. A class set of which nothing occurs in the data has no mIoU on either side.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

from engines.machine import machine_facts
from pipeline.parity.measure import Measured, Row

__all__ = ["LIMIT_POINTS", "Gap", "Problem", "gaps", "problems", "report", "table"]

LIMIT_POINTS = 0.05
"""Percentage points of mIoU that two rows may lie apart."""

STRICT = ("checkpoint", "onnx", "lossless")
"""Rows that must agree; H.264 and another arithmetic change the picture or the numbers, and are only told."""


@dataclass(frozen=True)
class Gap:
    """Two rows side by side."""

    one: str
    other: str
    rule: str
    """`P2` or `shown`."""
    points: float
    """Of mIoU, without sign."""

    @property
    def is_too_wide(self) -> bool:
        """More than the limit; so is a mIoU that only one of them has."""
        return not self.points <= LIMIT_POINTS


@dataclass(frozen=True)
class Problem:
    """Why parity does not hold."""

    where: str
    fault: str
    """A fault's name, or `unknown`."""
    told: str


def gaps(measured: Measured) -> list[Gap]:
    """Every pair that must agree, each by one rule."""
    rows = [measured.rows[name] for name in STRICT if name in measured.rows]
    pairs = [(one, other) for place, one in enumerate(rows) for other in rows[place + 1 :]]
    found = [Gap(one.name, other.name, "P2", _apart(_points(one.p2), _points(other.p2))) for one, other in pairs]
    shown = [row for row in rows if row.shown is not None]
    found += [
        Gap(one.name, other.name, "shown", _apart(_points(one.shown), _points(other.shown)))
        for place, one in enumerate(shown)
        for other in shown[place + 1 :]
    ]
    return found


def problems(measured: Measured) -> list[Problem]:
    """What is wrong, the most telling first; empty: parity holds."""
    found = []
    rows = measured.rows
    lossless = rows["lossless"]
    if lossless.n_equal < lossless.n_tensors and lossless.diagnosis is not None:
        n_wrong = lossless.n_tensors - lossless.n_equal
        told = f"{n_wrong} of {lossless.n_tensors} tensors are not what preprocess should make. {lossless.diagnosis}"
        found.append(Problem("onnx / lossless", lossless.diagnosis.fault, told))
    checkpoint = rows.get("checkpoint")
    if checkpoint is not None and checkpoint.diagnosis is not None and checkpoint.diagnosis.fault != "unknown":
        found.append(Problem("checkpoint / onnx", checkpoint.diagnosis.fault, str(checkpoint.diagnosis)))
    for gap in gaps(measured):
        if gap.is_too_wide:
            fault, why = _why(gap, measured)
            if any(problem.fault == fault for problem in found):
                why = f"{fault}, as above"
            rule = "by P2" if gap.rule == "P2" else "as shown"
            told = f"{gap.points:.3f} points of mIoU apart {rule}, more than {LIMIT_POINTS:g}. {why}"
            found.append(Problem(f"{gap.one} / {gap.other}", fault, told))
    h264 = rows.get("h264")
    if h264 is not None and h264.diagnosis is not None and h264.diagnosis.fault != "unknown":
        found.append(Problem("onnx / h264", h264.diagnosis.fault, f"beside the codec's own loss: {h264.diagnosis}"))
    return found


def _why(gap: Gap, measured: Measured) -> tuple[str, str]:
    for name in (gap.one, gap.other):
        diagnosis = measured.rows[name].diagnosis
        if diagnosis is not None:
            return diagnosis.fault, str(diagnosis)
    if gap.other == "lossless":
        return "backend", "the tensors are equal bit by bit, so the backend calculates otherwise: try another --backend"
    return "unknown", "few pixels differ on every picture"


def report(measured: Measured) -> dict[str, Any]:
    """Plain values, for JSON."""
    return {
        "engine": measured.engine,
        "images": measured.n_images,
        "limit_points": LIMIT_POINTS,
        "seeded_fault": measured.seeded or None,
        "rows": [_row(row) for row in measured.rows.values()],
        "gaps": [{**asdict(gap), "points": _rounded(gap.points)} for gap in gaps(measured)],
        "problems": [asdict(problem) for problem in problems(measured)],
        "machine": machine_facts(),
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "title": row.title,
        "backend": row.backend,
        "miou_p2": _rounded(_points(row.p2)),
        "miou_shown": _rounded(_points(row.shown)) if row.shown is not None else None,
        "iou_p2": {name: _rounded(100 * value) for name, value in row.p2.scores().iou.items()},
        "tensors": row.n_tensors,
        "tensors_equal": row.n_equal,
        "diagnosis": None if row.diagnosis is None else asdict(row.diagnosis),
    }


def table(measured: Measured) -> str:
    """Rows side by side, then the verdict in words."""
    lines = [
        f"{measured.engine}, {measured.n_images} pictures; mIoU in percent",
        "",
        f"{'':<32}{'P2':>9}{'as shown':>10}  tensors as they should be",
    ]
    for row in measured.rows.values():
        shown = f"{_points(row.shown):10.4f}" if row.shown is not None else f"{'':>10}"
        tensors = f"{row.n_equal} of {row.n_tensors}" if row.n_tensors else ""
        lines.append(f"{row.title:<32}{_points(row.p2):9.4f}{shown}  {tensors:<12} {row.backend}".rstrip())
    lines.append("")
    if measured.same_arithmetic:
        lines.append(f"without being told, the engine calculates no otherwise here: {measured.same_arithmetic}")
    lines += [f"{p.where}: {p.told}" for p in problems(measured)]
    lines.append(_sentence(measured))
    lines.append(
        "(P2: logits brought to the picture's size, then the class. As shown: the mask as render brings it there.)"
    )
    return "\n".join(lines)


def _sentence(measured: Measured) -> str:
    widest = max(gaps(measured), key=lambda gap: math.inf if math.isnan(gap.points) else gap.points)
    if problems(measured):
        return "parity does not hold"
    return f"parity holds: the widest gap is {widest.points:.4f} points ({widest.one} / {widest.other}, {widest.rule})"


def _points(tally: Any) -> float:
    return 100 * float(tally.scores().miou)


def _apart(one: float, other: float) -> float:
    return 0.0 if math.isnan(one) and math.isnan(other) else abs(one - other)


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 5)
