"""Scores as a table for a terminal: one line a class, then one line a measure.

Figures have four places as in cards and manifests; what was not measured has no line.
"""

import math

from engines.evaluation.compare import Compared
from engines.evaluation.evaluate import Evaluation
from engines.metrics import AGREEMENT_BAND_PX, BOUNDARY_PX
from engines.metrics.intervals import Interval

__all__ = ["comparison_lines", "evaluation_lines"]

LABEL_WIDTH = 24


def evaluation_lines(result: Evaluation) -> list[str]:
    """Per class: IoU with its interval, boundary F, what is called the class and is not; then the rest."""
    scores = result.scores
    intervals = scores.intervals
    rows = [
        [
            name,
            _figure(iou),
            _interval(intervals.get(f"iou/{name}")),
            _figure(scores.boundary_f[name]),
            f"{scores.false_share[name]:.2%}",
        ]
        for name, iou in scores.iou.items()
    ]
    rows.append(
        [
            "mean",
            _figure(scores.miou),
            _interval(intervals.get("miou")),
            _figure(scores.mean_boundary_f),
            f"{1 - scores.pixel_accuracy:.2%}",
        ]
    )
    has_boundary = bool(scores.boundary_f_at)
    header = ["class", "IoU", "95 %" if intervals else "", f"boundary F {BOUNDARY_PX} px" if has_boundary else ""]
    lines = _table([*header, "wrongly so"], rows)
    lines.append(
        _line("pixel accuracy", f"{_figure(scores.pixel_accuracy)} {_interval(intervals.get('pixel_accuracy'))}")
    )
    if has_boundary:
        lines.append(_line("boundary F", _by_px(scores.boundary_f_at)))
    if not all(map(math.isnan, scores.trimap_miou.values())):
        lines.append(_line("mIoU at contours", _by_px(scores.trimap_miou)))
    if not math.isnan(scores.calibration_error):
        lines.append(_line("calibration error", _figure(scores.calibration_error)))
    steady = scores.steadiness
    if steady is not None:
        if steady.n_pairs:
            warped = f"{_figure(steady.warped_miou)} (the true labels: {_figure(steady.true_warped_miou)})"
            flips = f"{steady.flip_share:.3%} (the true labels: {steady.true_flip_share:.3%})"
            lines.append(_line("mIoU with frame before", f"{warped}, {steady.n_pairs} pairs of frames"))
            lines.append(_line("flips where it is still", flips))
        else:
            lines.append(_line("over time", "no two pictures follow one another"))
    lines += [
        f"no {name} in the labels: {scores.false_share[name]:.3%} of the pixels are called {name} falsely"
        for name, row in zip(scores.iou, scores.confusion, strict=True)
        if not row.sum() and scores.false_share[name] > 0
    ]
    rate = 1e3 / result.ms_per_image if result.ms_per_image else math.nan
    lines.append(_line("speed", f"{rate:.1f} pictures a second, reading and scoring included"))
    return lines


def comparison_lines(compared: Compared, names: tuple[str, str]) -> list[str]:
    """Agreement, then both scores beside one another."""
    found = compared.agreement
    first, second = found.first, found.second
    rows = [
        [name, _figure(iou), _figure(second.iou[name]), _signed(second.iou[name] - iou)]
        for name, iou in first.iou.items()
    ]
    rows.append(["mean", _figure(first.miou), _figure(second.miou), _signed(found.miou_difference)])
    rows.append(
        [
            f"boundary F {BOUNDARY_PX} px",
            _figure(first.mean_boundary_f),
            _figure(second.mean_boundary_f),
            _signed(second.mean_boundary_f - first.mean_boundary_f),
        ]
    )
    low, high = found.difference_interval
    return [
        _line("A", f"{names[0]}, {compared.protocols[0]}"),
        _line("B", f"{names[1]}, {compared.protocols[1]}"),
        _line("same label", f"{found.agreement:.4%} of all pixels"),
        _line("", f"{found.band_agreement:.4%} within {AGREEMENT_BAND_PX} px of a contour of A")
        if not math.isnan(found.band_agreement)
        else _line("", "A draws no contour"),
        *_table(["IoU", "A", "B", "B - A"], rows),
        _line("difference of mIoU", f"{_signed(found.miou_difference)}, 95 % {_signed(low)} .. {_signed(high)}"),
    ]


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    kept = [index for index, name in enumerate(header) if name]
    cells = [[row[index] for index in kept] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(kept))]
    widths[0] = max(widths[0], LABEL_WIDTH)
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def _line(label: str, told: str) -> str:
    return f"  {label.ljust(LABEL_WIDTH)}  {told}".rstrip()


def _by_px(values: dict[int, float]) -> str:
    return ", ".join(f"{px} px {_figure(value)}" for px, value in values.items())


def _figure(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def _signed(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.4f}"


def _interval(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval[0]:.4f} .. {interval[1]:.4f}"
