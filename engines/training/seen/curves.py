"""The pictures of a report, as PNG: loss, learning rate and mIoU over the steps; the confusion matrix.

Drawn with matplotlib's own `Figure`, never through pyplot: no window, no global state, no backend to choose.
The trap: a resumed run draws its whole life, since the rows come from the history and not from this process.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engines.training.seen.history import Scored, Trained

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_confusion", "draw_curves"]

DPI = 110
WRITTEN_CLASSES = 24
"""With more classes the cells are too small for figures; the colours stay."""
# Okabe and Ito's colours, which people with any common colour vision can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SMOOTHED_SHARE = 0.03
"""Width of the running mean over the loss, as a share of the curve."""


def draw_curves(trained: Sequence[Trained], scored: Sequence[Scored], path: Path, title: str) -> None:
    """Write loss, learning rates and mIoU over the steps; a panel without rows is left out.

    Raises:
        ValueError: there is nothing to draw.
    """
    panels: list[Callable[[Axes], None]] = []
    if trained:
        panels += [partial(_loss, rows=trained), partial(_rates, rows=trained)]
    if scored:
        panels.append(partial(_miou, rows=scored))
    if not panels:
        raise ValueError("a training without a step has no curves")
    figure = _figure(9.0, 0.7 + 2.3 * len(panels))
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for draw, axes in zip(panels, grid, strict=True):
        draw(axes)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    grid[-1].set_xlabel("step")
    figure.suptitle(title)
    figure.savefig(path, dpi=DPI)


def draw_confusion(confusion: NDArray[np.int64], classes: Sequence[str], path: Path, title: str) -> None:
    """Write the confusion matrix, each row as shares of the true class's pixels.

    Args:
        confusion: (C, C) pixel counts, row = true class, column = predicted.
    """
    n = len(classes)
    totals = confusion.sum(axis=1, keepdims=True)
    percent = np.full((n, n), np.nan)
    np.divide(100.0 * confusion, totals, out=percent, where=totals > 0)
    side = min(14.0, max(4.6, 2.6 + 0.5 * n))
    figure = _figure(side + 0.9, side)
    axes = figure.subplots()
    image = axes.imshow(percent, vmin=0, vmax=100, cmap="Blues")
    axes.set_xticks(range(n), classes, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(n), [name if totals[i] else f"{name} (absent)" for i, name in enumerate(classes)])
    axes.set(xlabel="predicted class", ylabel="true class", title=title)
    if n <= WRITTEN_CLASSES:
        _write_cells(axes, percent)
    figure.colorbar(image, ax=axes, label="share of the true class's pixels (%)", fraction=0.046, pad=0.03)
    figure.savefig(path, dpi=DPI)


def _figure(width_in: float, height_in: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), layout="constrained")


def _loss(axes: "Axes", rows: Sequence[Trained]) -> None:
    steps = np.array([row.step for row in rows])
    values = np.array([row.loss for row in rows])
    axes.plot(steps, values, color=COLOURS[0], alpha=0.3, linewidth=0.9)
    n_window = max(1, round(SMOOTHED_SHARE * len(rows)))
    label = "total" if n_window == 1 else f"total\n(mean of {n_window} points)"
    axes.plot(steps, _running_mean(values, n_window), color=COLOURS[0], linewidth=1.8, label=label, marker=_dot(steps))
    terms = sorted({name for row in rows for name in row.terms})
    if len(terms) > 1:
        for colour, name in zip(cycle(COLOURS[1:]), terms, strict=False):
            term = np.array([row.terms.get(name, np.nan) for row in rows])
            axes.plot(
                steps,
                _running_mean(term, n_window),
                color=colour,
                linewidth=1.2,
                label=name.replace("_", " "),
                marker=_dot(steps),
            )
    axes.set_ylabel("loss")
    axes.set_ylim(bottom=min(0.0, float(np.nanmin(values))) if np.isfinite(values).any() else 0.0)
    _legend(axes)


def _rates(axes: "Axes", rows: Sequence[Trained]) -> None:
    names = sorted({name for row in rows for name in row.lr})
    steps = [row.step for row in rows]
    # Dashes from the second on: equal rates lie on one another and both are seen.
    for colour, dashes, name in zip(cycle(COLOURS), cycle(("-", "--", ":")), names, strict=False):
        values = [row.lr.get(name, np.nan) for row in rows]
        axes.plot(steps, values, color=colour, linestyle=dashes, linewidth=1.8, label=name, marker=_dot(steps))
    axes.set_ylabel("learning rate")
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    if names:
        _legend(axes)


def _miou(axes: "Axes", rows: Sequence[Scored]) -> None:
    steps = [row.step for row in rows]
    values = [row.miou for row in rows]
    axes.plot(steps, values, color=COLOURS[2], linewidth=1.8, marker="o", markersize=4)
    known = [row for row in rows if not np.isnan(row.miou)]
    if known:
        best = max(known, key=lambda row: (row.miou, row.step))
        label = f"best {best.miou:.4f}\nat step {best.step}"
        axes.plot([best.step], [best.miou], "o", color=COLOURS[1], markersize=8, label=label, zorder=3)
        _legend(axes)
    axes.set_ylabel("validation mIoU")
    axes.margins(y=0.15)


def _legend(axes: "Axes") -> None:
    """Beside the panel: inside it, some curve always runs through."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)


def _write_cells(axes: "Axes", percent: NDArray[np.float64]) -> None:
    size = 10 if len(percent) <= 12 else 7
    for row, column in np.ndindex(percent.shape):
        value = percent[row, column]
        if np.isnan(value):
            continue
        text = f"{value:.1f}" if value < 99.95 else "100"
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color="white" if value > 55 else "black")


def _running_mean(values: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Mean of the `n` values up to each one; fewer at the beginning. nan stays out of it."""
    sums = np.convolve(np.nan_to_num(values), np.ones(n))[: len(values)]
    counts = np.convolve(~np.isnan(values), np.ones(n))[: len(values)]
    means = np.full(len(values), np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means


def _dot(steps: Sequence[int] | NDArray[np.int_]) -> str:
    """A marker where there is one point, of which a line shows nothing."""
    return "o" if len(steps) == 1 else ""
