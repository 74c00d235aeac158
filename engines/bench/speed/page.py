"""The tables of docs/speed.md, from the records and from what has been scored.

The trap: fps here is 1000 / ms of one picture after the other; a stream overlaps its stages and is measured by
`run_stream.py bench`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from engines.bench.pages import fill, table
from engines.bench.speed.measure import CRF, CRF_BACKEND, RUNTIMES, TORCH
from engines.bench.speed.networks import NETWORKS, SIZES, Network
from engines.bench.speed.plot import draw
from engines.bench.speed.records import Record, Records
from engines.bench.speed.scores import Trained, trained_networks
from engines.errors import EngineError
from engines.size import Size

__all__ = ["write_page"]

Cells = Mapping[tuple[str, int, int, str], Record]
BACKENDS = (*RUNTIMES, TORCH)
TITLES = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime", "torch": "torch eager"}
GROUPS = {
    "published": "As published: each version on its papers' own backbone",
    "same backbone": "One backbone, MobileNetV2 at output stride 16, 256 channels: only the head differs",
    "backbones": "v3+ on other backbones, separable heads, output stride 16",
}


def write_page(records: Records, page: Path, plot: Path, results: Path = Path("docs/ablation")) -> list[Path]:
    """Fill the page and draw the plot, for the machine that was measured last.

    Returns:
        What was written.

    Raises:
        EngineError: there are no records yet, or the page lacks its marks.
    """
    if not records.machines:
        raise EngineError(f"{records.path}: no figures yet; measure first: python -m engines bench speed")
    machine = records.machines[-1]
    cells = records.of_machine(machine)
    trained = trained_networks(results)
    parts = {
        "machine": f"![Time of one picture by version, and against its multiply-adds]({plot.name})\n\n"
        + _machine(machine, cells),
        "networks": "\n\n".join(_sized_tables(cells, size, trained) for size in SIZES),
        "crf": _crf(cells),
    }
    fill(page, parts)
    draw(cells, plot)
    return [page, plot]


def _machine(machine: str, cells: Cells) -> str:
    details = dict.fromkeys(cells[key].detail for key in cells if cells[key].backend in BACKENDS)
    loads = [record.load_average for record in cells.values()]
    return (
        f"Machine: {machine}. {'; '.join(details)}. Load average of the machine at the beginning of each "
        f"measurement: {min(loads):.1f} to {max(loads):.1f}."
    )


def _sized_tables(cells: Cells, size: Size, trained: Mapping[str, Trained]) -> str:
    parts = [f"### {size}"]
    for group, title in GROUPS.items():
        networks = [n for n in NETWORKS if n.group == group and any((n.name, *size, b) in cells for b in BACKENDS)]
        if networks:
            parts.append(f"**{title}**\n\n{_table(cells, size, networks, trained)}")
    return "\n\n".join(parts)


def _table(cells: Cells, size: Size, networks: Sequence[Network], trained: Mapping[str, Trained]) -> str:
    crf = cells.get((CRF, *size, CRF_BACKEND))
    backends = [b for b in BACKENDS if any((n.name, *size, b) in cells for n in networks)]
    head = ["network", "M parameters", "GMAC"]
    head += [f"{TITLES[b]} ms" for b in backends]
    head += ["fps", "fps with CRF", "mIoU where trained"]
    lines = []
    for network in networks:
        found = {b: cells[network.name, *size, b] for b in backends if (network.name, *size, b) in cells}
        one = next(iter(found.values()))
        best_ms = min(record.ms_p50 for record in found.values())
        with_crf = f"{1000 / (best_ms + crf.ms_p50):.1f}" if crf is not None and network.has_crf else ""
        lines.append(
            [
                network.name,
                "" if one.parameters is None else f"{one.parameters / 1e6:.1f}",
                "" if one.gmac is None else f"{one.gmac:.1f}",
                *(f"{found[b].ms_p50:.0f}" if b in found else "" for b in backends),
                f"{1000 / best_ms:.1f}",
                with_crf,
                trained[network.name].text if network.name in trained else "",
            ]
        )
    return table(head, lines, right=range(1, len(head)))


def _crf(cells: Cells) -> str:
    lines = [
        [str(size), f"{record.ms_p50:.0f}", f"{record.ms_lowest:.0f}", record.detail]
        for size in SIZES
        if (record := cells.get((CRF, *size, CRF_BACKEND))) is not None
    ]
    return (
        table(["size", "ms", "lowest", "what"], lines, right=(1, 2)) if lines else "The dense CRF is not measured yet."
    )
