"""The whole series of measurements: what is missing is measured, cell by cell, and written at once."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.bench.report import machine_line
from engines.bench.speed.measure import CRF, CRF_BACKEND, TORCH, crf_record, network_records
from engines.bench.speed.networks import NETWORKS, SIZES
from engines.bench.speed.records import Record, Records
from engines.crf import unavailable_reason
from engines.data.formats.shapes import Shapes
from engines.data.known import SHAPES
from engines.data.pairs import read_image
from engines.errors import EngineError
from engines.size import Size

__all__ = ["measure_missing"]


def measure_missing(
    records: Records,
    only: Sequence[str],
    budget_s: float,
    picture: Path | None,
    *,
    again: bool,
    say: Callable[[str], None],
) -> None:
    """Measure every network at every size, and the CRF, on this machine.

    Args:
        only: parts of names; empty for everything.
        budget_s: for each network at each size, all backends together.
        picture: what the CRF works on; generated shapes without one.
        again: also what the records already hold of this machine.
    """
    here = records.of_machine(machine_line())
    say(f"speed: {machine_line()}")
    for network in NETWORKS:
        for size in network.sizes:
            # torch runs everywhere, so its record stands for the cell.
            if not _wanted(network.name, only) or ((network.name, *size, TORCH) in here and not again):
                continue
            try:
                made = network_records(network, size, budget_s)
            except (EngineError, MemoryError) as error:
                say(f"speed: {network.name} {size}: left out: {error}")
                continue
            records.add(made)
            for record in made:
                say(_line(record))
    if not _wanted(CRF, only):
        return
    if (reason := unavailable_reason()) is not None:
        say(f"speed: {CRF}: left out: {reason}")
        return
    image = _generated() if picture is None else read_image(picture)
    for size in SIZES:
        if (CRF, *size, CRF_BACKEND) not in here or again:
            record = crf_record(image, size, budget_s)
            records.add([record])
            say(_line(record))


def _wanted(name: str, only: Sequence[str]) -> bool:
    return not only or any(text.lower() in name.lower() for text in only)


def _line(record: Record) -> str:
    return (
        f"speed: {record.network} {Size(record.width, record.height)} {record.backend}: {record.ms_p50:.1f} ms "
        f"(lowest {record.ms_lowest:.1f}, p95 {record.ms_p95:.1f}, {record.n_runs} runs)"
    )


def _generated() -> NDArray[np.uint8]:
    return Shapes(len(SHAPES.names), 1)[0].image_bgr
