"""The last step of a training: `best.pt` becomes an engine with its scores, in `OUT/engine`.

What is scored is what is served: each graph, opened by the backend that would run it, under P2 on the config's
validation sets. The trap: an engine is found by its folder's or file's name, so this one is called by its path:
`run_stream.py run clip.mp4 --engine runs/toy/engine/toy.json`.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from configs import Options
from engines.data.pairs import Pair
from engines.geometry import tensor_of
from engines.size import DEFAULT_SIZE, ServedSize, Size
from engines.spec import InputSpec, Precision
from engines.training.seen.page import PAGE, table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engines.training.config import TrainConfig

__all__ = ["FOLDER", "Delivery", "deliver"]

FOLDER = "engine"
N_SAMPLES = 10
"""Real pictures that a graph is compared with its network on."""


class Delivery(Options):
    """The engine that a finished training exports."""

    sizes: tuple[ServedSize, ...] = Field((DEFAULT_SIZE,), min_length=1)
    """`WxH` in multiples of 32; the first is the default of the engine."""
    precisions: tuple[Precision, ...] = Field(("fp32",), min_length=1)
    """One graph a size and precision; int8 needs `calibration`."""
    calibration: Path | None = None
    """A folder of real pictures, from which the ranges of int8 are measured."""
    licences: tuple[str, ...] = ()
    """Of the data, a line each, for the manifest."""

    @model_validator(mode="after")
    def _calibrated(self) -> "Delivery":
        if "int8" in self.precisions and self.calibration is None:
            raise ValueError("int8 needs `calibration`: a folder of real pictures to measure its ranges on")
        return self


def deliver(config: "TrainConfig", best: Path, out: Path, say: Callable[[str], None]) -> Path:
    """Export `best` as the config's `export` asks, score every graph, and return the manifest's path.

    Raises:
        CheckpointError, ExportError: see `engines.export.publish`.
    """
    from engines.evaluation.evaluate import P2Engine, evaluate
    from engines.export.derive import CalibrationSet
    from engines.export.publish import Wanted, engine_from_checkpoint
    from engines.record import record_scores
    from engines.runtime import open_engine
    from engines.training.checkpoint import Checkpoint
    from engines.training.validate import opened_sets

    assert config.export is not None, "without `export` in the config there is nothing to deliver"
    sets, sizes = opened_sets(config), config.export.sizes
    samples = [sample for size in sizes for sample in _samples(sets, size, config)]
    folder = config.export.calibration
    wanted = Wanted(sizes, config.export.precisions, calibration=None if folder is None else CalibrationSet(folder))
    checkpoint = Checkpoint.load(best)
    manifest, graphs = engine_from_checkpoint(checkpoint, wanted, out / FOLDER, samples, config.export.licences)
    rows = []
    for graph in graphs:
        named = f"{manifest}@{graph.size}:{graph.precision}"
        with open_engine(named, outputs=("logits",)) as engine:
            for title, pairs in sets.items():
                result = evaluate(P2Engine(engine), pairs)
                record_scores(engine.spec, result.recorded(f"P2/{title}"))
                say(f"{engine.spec.label}: P2 {title} mIoU {result.scores.miou:.4f}")
                rows.append((f"`{graph.file}`", title, f"{result.scores.miou:.4f}"))
    _add_to_report(out / PAGE, manifest, rows)
    return manifest


def _add_to_report(page: Path, manifest: Path, rows: Sequence[tuple[str, str, str]]) -> None:
    """A section of its own, where there is a report: it was written before there was an engine."""
    if not page.is_file():
        return
    told = f"`{FOLDER}/{manifest.name}`: each graph as a stream runs it, under P2."
    section = f"\n## The engine\n\n{told}\n\n{table(('graph', 'pictures', 'mIoU'), rows)}\n"
    partial = page.with_name(f"{page.name}.partial")
    partial.write_text(page.read_text(encoding="utf-8") + section, encoding="utf-8")
    partial.replace(page)


def _samples(sets: "Mapping[str, Iterable[Pair]]", size: Size, config: "TrainConfig") -> list[NDArray[np.uint8]]:
    """The first pictures of the validation sets as the engine will get them."""
    spec = InputSpec.of(size, config.resize)
    n = N_SAMPLES // max(1, len(sets)) + 1
    return [tensor_of(pair.image_bgr, spec) for pairs in sets.values() for pair in islice(pairs, n)]
