"""The picture of docs/speed.md: time of a picture by version, and what arithmetic has to do with it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engines.bench.speed.measure import CRF, CRF_BACKEND, RUNTIMES, TORCH
from engines.bench.speed.networks import NETWORKS, PAPER_SIZE, Network
from engines.bench.speed.records import Record
from engines.size import Size

__all__ = ["PAPERS_CRF_MS", "PAPERS_NETWORK_MS", "draw"]

PAPERS_NETWORK_MS, PAPERS_CRF_MS = 125.0, 500.0
"""8 fps on a Titan X, and 0.5 s of CRF on a CPU (Chen et al. 2015 and 2017, DeepLab v1 and v2)."""

COLOURS = {"v1": "#7a5195", "v2": "#ef5675", "v3": "#ffa600", "v3+": "#2f7ebc"}
CRF_COLOUR = "#c8c8c8"
Cells = Mapping[tuple[str, int, int, str], Record]


def draw(cells: Cells, path: Path, size: Size = PAPER_SIZE) -> None:
    """Write the figure; networks without a figure at this size are left out."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown = [network for network in NETWORKS if _best(cells, network, size) is not None]
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5.6), width_ratios=(1.25, 1), layout="constrained")
    _bars(left, cells, [n for n in shown if n.group != "backbones"], size)
    _points(right, cells, shown, size)
    path.parent.mkdir(parents=True, exist_ok=True)
    # No date in the file: the same figures give the same bytes.
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def _bars(axes: Any, cells: Cells, networks: list[Network], size: Size) -> None:
    crf = cells.get((CRF, *size, CRF_BACKEND))
    labels = ["the papers of v1 and v2\n(Titan X, CRF on a CPU)"]
    axes.barh(0, PAPERS_NETWORK_MS, color="#444444")
    axes.barh(0, PAPERS_CRF_MS, left=PAPERS_NETWORK_MS, color=CRF_COLOUR, hatch="//", edgecolor="white")
    axes.text(
        PAPERS_NETWORK_MS + PAPERS_CRF_MS, 0, f" {PAPERS_NETWORK_MS + PAPERS_CRF_MS:.0f} ms", va="center", fontsize=8
    )
    longest = PAPERS_NETWORK_MS + PAPERS_CRF_MS
    for place, network in enumerate(networks, 1):
        best = _best(cells, network, size)
        assert best is not None
        total = best.ms_p50
        axes.barh(place, best.ms_p50, color=COLOURS[network.version])
        if crf is not None and network.has_crf:
            axes.barh(place, crf.ms_p50, left=total, color=CRF_COLOUR, hatch="//", edgecolor="white")
            total += crf.ms_p50
        axes.text(total, place, f" {total:.0f} ms", va="center", fontsize=8)
        longest = max(longest, total)
        labels.append(network.name)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, longest * 1.14)
    axes.set_xlabel("ms a picture, the fastest backend here")
    axes.set_title(f"Time of one picture of {size}; hatched: dense CRF", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


def _points(axes: Any, cells: Cells, networks: list[Network], size: Size) -> None:
    backends = [b for b in (*RUNTIMES, TORCH) if any((n.name, *size, b) in cells for n in networks)]
    marks = dict(zip((*RUNTIMES, TORCH), "os^", strict=True))
    for network in networks:
        for backend in backends:
            record = cells.get((network.name, *size, backend))
            if record is not None and record.gmac:
                axes.scatter(
                    record.gmac, record.ms_p50, marker=marks[backend], s=34,
                    color=COLOURS[network.version], edgecolor="white", linewidth=0.5,
                )  # fmt: skip
    for backend in backends:
        axes.scatter([], [], marker=marks[backend], color="#666666", label=backend)
    for version, colour in COLOURS.items():
        axes.scatter([], [], marker="s", s=60, color=colour, label=version)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("GMAC a picture")
    axes.set_ylabel("ms a picture")
    axes.set_title(f"Time against arithmetic, {size}, every backend", fontsize=10)
    axes.grid(visible=True, which="major", color="#dddddd", linewidth=0.6)
    axes.legend(fontsize=8, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)


def _best(cells: Cells, network: Network, size: Size) -> Record | None:
    found = [cells[network.name, *size, b] for b in (*RUNTIMES, TORCH) if (network.name, *size, b) in cells]
    return min(found, key=lambda record: record.ms_p50) if found else None
