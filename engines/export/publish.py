"""A checkpoint becomes an engine: its graphs, and the manifest that describes them.

Scores are never typed in: P1 travels inside the checkpoint (`evaluate CKPT --record NAME` puts it there), P2 and
certificates belong to one graph and are noted later (`engines.record`). The trap: graphs may be added to a manifest
only when they come from the very weights it was written for, so it keeps a fingerprint of them; other weights of the
same name replace the manifest as a whole.
"""

import contextlib
import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineMismatch, EngineNotFound
from engines.export.derive import CalibrationSet, Samples, derived_graph, file_of, pictures_of
from engines.export.difference import answers_of_graph, noise, stacked
from engines.export.open_batch import open_batch
from engines.manifest import SCHEMA_VERSION, Graph, Manifest
from engines.names import check_file, read_manifest, spec_of
from engines.record import write_manifest
from engines.size import Size
from engines.spec import InputSpec, Meaning, Precision, ResizeRule

if TYPE_CHECKING:
    from engines.models.deeplab import DeepLab
    from engines.training.checkpoint import Checkpoint

__all__ = [
    "Wanted",
    "add_graphs",
    "engine_from_checkpoint",
    "engine_from_network",
    "letterboxed_samples",
    "open_graphs",
]


@dataclass(frozen=True)
class Wanted:
    """Which graphs to write."""

    sizes: Sequence[Size]
    precisions: Sequence[Precision] = ("fp32",)
    batch: int = 1
    any_batch: bool = False
    """Instead of a fixed batch: graphs whose batch axis is open."""
    calibration: CalibrationSet | None = None
    """For int8."""
    say: Callable[[str], None] = field(default=lambda _line: None)
    """Takes a line of progress."""


def engine_from_checkpoint(
    checkpoint: "Checkpoint",
    wanted: Wanted,
    out: Path,
    samples_bgr: Sequence[NDArray[np.uint8]] = (),
    licences: Sequence[str] = (),
) -> tuple[Path, list[Graph]]:
    """Write `<name>-<W>x<H>-<precision>.onnx` for each that is wanted, and `<name>.json`.

    Returns:
        The manifest's path, and the entries of the graphs that were written.

    Raises:
        CheckpointError, InputSizeError, ExportError: see `export_graph`; nothing half-written stays.
    """
    return engine_from_network(
        checkpoint.network(),
        checkpoint.meaning,
        wanted,
        out,
        samples_bgr,
        name=checkpoint.name,
        model=checkpoint.model.title,
        scores=checkpoint.scores,
        trained_on=checkpoint.trained_on,
        licences=licences,
    )


def engine_from_network(
    network: "DeepLab",
    meaning: Meaning,
    wanted: Wanted,
    out: Path,
    samples_bgr: Sequence[NDArray[np.uint8]],
    *,
    name: str,
    model: str,
    scores: dict[str, float],
    trained_on: Sequence[str],
    licences: Sequence[str] = (),
) -> tuple[Path, list[Graph]]:
    """The same for any network that gives logits at stride 4; the first graph is the default one."""
    from engines.export.graph import export_graph

    out.mkdir(parents=True, exist_ok=True)
    graphs: list[Graph] = []
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=out))) if wanted.any_batch else out
        for size in wanted.sizes:
            is_kept = "fp32" in wanted.precisions
            file = file_of(name, size, "fp32", wanted.batch)
            fp32 = place / (file if is_kept else f"{file}.basis.onnx")
            try:
                wanted.say(f"{size} fp32")
                graph, samples = export_graph(
                    network, meaning, size.width, size.height, fp32, samples_bgr, wanted.batch
                )
                graphs += [graph] if is_kept else []
                graphs += _derived(fp32, InputSpec.of(size, meaning.resize), name, wanted, place, samples)
            finally:
                if not is_kept:
                    fp32.unlink(missing_ok=True)
        if wanted.any_batch:
            graphs = _opened(place, graphs, name, out, samples_bgr, wanted)
    path = out / f"{name}.json"
    weights = _fingerprint(network)
    manifest = Manifest(
        name=name,
        classes=meaning.classes,
        palette=meaning.palette,
        subject=meaning.subject,
        resize=meaning.resize,
        normalisation=network.normalisation.text,
        model=model,
        weights=weights,
        graphs=tuple(graphs),
        default_graph=graphs[0].file,
        scores=scores,
        trained_on=tuple(trained_on),
        licences=tuple(licences),
    )
    held = _same_weights(path, weights)
    if held is not None:
        manifest = manifest.model_copy(
            update={
                "graphs": _merged(held.graphs, graphs),
                "default_graph": held.default_graph or held.graphs[0].file,
                "licences": manifest.licences or held.licences,
                "crf": held.crf,
                "crf_gain": held.crf_gain,
            }
        )
    write_manifest(manifest, path)
    return path, graphs


def add_graphs(manifest_path: Path, wanted: Wanted, samples_bgr: Sequence[NDArray[np.uint8]]) -> list[Graph]:
    """Make other precisions of the fp32 graphs that an engine has, without its checkpoint; works without torch.

    Args:
        wanted: no sizes: all that the engine has in fp32. fp32 itself and batches need the checkpoint.

    Returns:
        The entries that were added to the manifest, or replaced in it.

    Raises:
        EngineNotFound: the engine has no fp32 graph of a size.
        ExportError: see `derived_graph`.
    """
    manifest = read_manifest(manifest_path)
    bases = {
        g.size: g for g in manifest.graphs if g.precision == "fp32" and g.batch == wanted.batch and not g.any_batch
    }
    sizes = list(wanted.sizes or bases)
    if not sizes:
        raise EngineNotFound(f"{manifest_path} lists no fp32 graph to start from; export it from its checkpoint")
    graphs: list[Graph] = []
    for size in sizes:
        if size not in bases:
            have = ", ".join(map(str, bases))
            raise EngineNotFound(
                f"{manifest_path} has no fp32 graph of {size} (it has {have or 'none'}); "
                "another size or batch is exported from the checkpoint"
            )
        basis = spec_of(manifest, bases[size], manifest_path.parent)
        check_file(basis)
        fitting = [picture for picture in samples_bgr if picture.shape == basis.input.shape()[1:]]
        batches_bgr = stacked(fitting or noise(size.height, size.width), wanted.batch)
        samples = Samples(batches_bgr, answers_of_graph(basis.path, batches_bgr), is_noise=not fitting)
        graphs += _derived(basis.path, basis.input, manifest.name, wanted, manifest_path.parent, samples)
    write_manifest(
        manifest.model_copy(update={"schema_version": SCHEMA_VERSION, "graphs": _merged(manifest.graphs, graphs)}),
        manifest_path,
    )
    return graphs


def open_graphs(manifest_path: Path, wanted: Wanted, samples_bgr: Sequence[NDArray[np.uint8]]) -> list[Graph]:
    """Write graphs that an engine has again with an open batch axis; works without checkpoint and without torch.

    Args:
        wanted: no sizes: all that there are. Each precision must be there already, else nothing is written.

    Returns:
        The entries that were added to the manifest, or replaced in it.

    Raises:
        EngineNotFound: the engine has no such graph.
        ExportError: see `open_batch`.
    """
    manifest = read_manifest(manifest_path)
    bases = {
        (graph.size, graph.precision): graph for graph in manifest.graphs if graph.batch == 1 and not graph.any_batch
    }
    found: list[Graph] = []
    for size in wanted.sizes or dict.fromkeys(size for size, _ in bases):
        for precision in wanted.precisions:
            basis = bases.get((size, precision))
            if basis is None:
                have = ", ".join(graph.label for graph in bases.values())
                raise EngineNotFound(
                    f"{manifest_path} has no graph {size} {precision} to open (it has {have or 'none'})"
                )
            check_file(spec_of(manifest, basis, manifest_path.parent))
            found.append(basis)
    graphs = _opened(manifest_path.parent, found, manifest.name, manifest_path.parent, samples_bgr, wanted)
    write_manifest(
        manifest.model_copy(update={"schema_version": SCHEMA_VERSION, "graphs": _merged(manifest.graphs, graphs)}),
        manifest_path,
    )
    return graphs


def letterboxed_samples(
    folder: Path, sizes: Sequence[Size], resize: ResizeRule = ResizeRule.LETTERBOX
) -> list[NDArray[np.uint8]]:
    """Ten of a folder's images at each size, for the comparison of graph and network.

    Raises:
        DataError: no such folder, or no image in it.
    """
    return [picture for size in sizes for picture in pictures_of(folder, InputSpec.of(size, resize))]


def _derived(fp32: Path, spec: InputSpec, name: str, wanted: Wanted, out: Path, samples: Samples) -> list[Graph]:
    graphs = []
    for precision in wanted.precisions:
        if precision != "fp32":
            wanted.say(f"{spec.size} {precision}")
            path = out / file_of(name, spec.size, precision, wanted.batch)
            graphs.append(derived_graph(fp32, precision, path, spec, samples, wanted.calibration))
    return graphs


def _opened(
    folder: Path,
    entries: Sequence[Graph],
    name: str,
    out: Path,
    samples_bgr: Sequence[NDArray[np.uint8]],
    wanted: Wanted,
) -> list[Graph]:
    """All of them or none: a file in `out` that the manifest vouches for must not change before the manifest does."""
    graphs = []
    with tempfile.TemporaryDirectory(dir=out) as place:
        for entry in entries:
            wanted.say(f"{entry.label}, any batch")
            path = Path(place) / file_of(name, entry.size, cast(Precision, entry.precision), any_batch=True)
            fitting = [picture for picture in samples_bgr if picture.shape == (entry.height, entry.width, 3)]
            graphs.append(open_batch(folder / entry.file, entry, path, fitting))
        for graph in graphs:
            (Path(place) / graph.file).replace(out / graph.file)
    return graphs


def _merged(held: Sequence[Graph], written: Sequence[Graph]) -> tuple[Graph, ...]:
    """Entries that were written again replace the old ones; certificates against a rewritten graph go with it."""
    fresh = {graph.file: graph for graph in written}
    kept = []
    for graph in held:
        still_true = {kind: c for kind, c in graph.certified.items() if c.against not in fresh}
        kept.append(fresh.get(graph.file, graph.model_copy(update={"certified": still_true})))
    known = {graph.file for graph in held}
    return (*kept, *(graph for graph in written if graph.file not in known))


def _same_weights(path: Path, weights: str) -> Manifest | None:
    """The manifest that is there, if it was written for these weights."""
    if not path.is_file():
        return None
    try:
        held = read_manifest(path)
    except EngineMismatch:
        return None  # damaged or of another kind: it is written anew
    return held if held.weights == weights else None


def _fingerprint(network: "DeepLab") -> str:
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()
