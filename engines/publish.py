"""A checkpoint becomes an engine: its graphs, and the manifest that describes them.

Scores are never typed in: P1 travels inside the checkpoint (`evaluate CKPT --record NAME` puts it there), P2
belongs to one graph (`evaluate ENGINE --record NAME`). The trap: a graph that is exported again has another
sha256, so its old P2 scores are dropped with its old entry.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.data.datasets import IMAGE_SUFFIXES, read_image
from engines.errors import DataError
from engines.export import Meaning, export_graph
from engines.geometry import fit, resize_into
from engines.models.deeplab import DeepLab
from engines.names import read_manifest
from engines.spec import EngineSpec, Graph, InputSpec, Manifest
from engines.training.checkpoint import Checkpoint

__all__ = [
    "engine_from_checkpoint",
    "engine_from_network",
    "letterboxed_samples",
    "record_scores",
    "write_manifest",
]

PARITY_SAMPLES = 8


def engine_from_checkpoint(
    checkpoint: Checkpoint,
    sizes: Sequence[tuple[int, int]],
    out: Path,
    samples_bgr: Sequence[NDArray[np.uint8]] = (),
    licences: Sequence[str] = (),
) -> Path:
    """Write `<name>-<W>x<H>-fp32.onnx` for each (width, height), and `<name>.json`; returns the manifest's path.

    Raises:
        CheckpointError, InputSizeError, ExportError: see `export_graph`; nothing half-written stays.
    """
    return engine_from_network(
        checkpoint.network(),
        checkpoint.meaning,
        sizes,
        out,
        samples_bgr,
        name=checkpoint.name,
        model=checkpoint.model.title,
        scores=checkpoint.scores,
        trained_on=checkpoint.trained_on,
        licences=licences,
    )


def engine_from_network(
    network: DeepLab,
    meaning: Meaning,
    sizes: Sequence[tuple[int, int]],
    out: Path,
    samples_bgr: Sequence[NDArray[np.uint8]],
    *,
    name: str,
    model: str,
    scores: dict[str, float],
    trained_on: Sequence[str],
    licences: Sequence[str] = (),
) -> Path:
    """The same for any network that gives logits at stride 4; the first size is the default graph."""
    graphs = [
        export_graph(network, meaning, width, height, out / f"{name}-{width}x{height}-fp32.onnx", samples_bgr)
        for width, height in sizes
    ]
    path = out / f"{name}.json"
    write_manifest(
        Manifest(
            name=name,
            classes=meaning.classes,
            palette=meaning.palette,
            subject=meaning.subject,
            resize=meaning.resize,
            normalisation=network.normalisation.text,
            model=model,
            graphs=tuple(graphs),
            default_graph=graphs[0].file,
            scores=scores,
            trained_on=tuple(trained_on),
            licences=tuple(licences),
        ),
        path,
    )
    return path


def record_scores(spec: EngineSpec, scores: dict[str, float]) -> Path:
    """Put P2 scores into the entry of one graph; returns the manifest's path.

    Raises:
        EngineMismatch: there is no readable manifest beside the graph that lists it.
    """
    path = spec.path.parent / f"{spec.name}.json"
    manifest = read_manifest(path)
    graphs: list[Graph] = [
        graph.model_copy(update={"scores": {**graph.scores, **scores}}) if graph.file == spec.path.name else graph
        for graph in manifest.graphs
    ]
    write_manifest(manifest.model_copy(update={"graphs": tuple(graphs)}), path)
    return path


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write the JSON whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def letterboxed_samples(folder: Path, sizes: Sequence[tuple[int, int]]) -> list[NDArray[np.uint8]]:
    """A few of a folder's images at each (width, height), for the comparison of graph and network.

    Raises:
        DataError: no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected one with .jpg or .png images")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise DataError(f"{folder}: holds no .jpg or .png")
    samples = []
    for path in paths[:: max(1, len(paths) // PARITY_SAMPLES)][:PARITY_SAMPLES]:
        image_bgr = read_image(path)
        for width, height in sizes:
            spec = InputSpec(height, width)
            tensor_bgr = np.zeros(spec.shape()[1:], np.uint8)
            resize_into(image_bgr, fit(image_bgr.shape[0], image_bgr.shape[1], spec), tensor_bgr)
            samples.append(tensor_bgr)
    return samples
