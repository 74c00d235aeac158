"""What is measured later goes into the manifest of an engine: scores, certificates. Works without torch.

Figures are never typed in. The trap: they belong to one file; `export` writes a fresh entry for a graph that it
writes again, and the old figures go with the old entry.
"""

from collections.abc import Callable
from pathlib import Path

from engines.errors import EngineMismatch
from engines.manifest import Certificate, CrfGain, CrfSetting, Graph, Manifest
from engines.names import read_manifest
from engines.spec import EngineSpec

__all__ = ["manifest_of", "record_certificate", "record_crf", "record_scores", "revoke_certificate", "write_manifest"]


def record_scores(spec: EngineSpec, scores: dict[str, float]) -> Path:
    """Put P2 scores into the entry of one graph; returns the manifest's path.

    Raises:
        EngineMismatch: there is no readable manifest beside the graph that lists it.
    """
    return _changed(spec, lambda graph: graph.model_copy(update={"scores": {**graph.scores, **scores}}))


def record_certificate(spec: EngineSpec, machine: str, certificate: Certificate) -> Path:
    """Note what `certify` measured on this kind of machine; returns the manifest's path.

    Raises:
        EngineMismatch: as `record_scores`.
    """
    return _changed(
        spec, lambda graph: graph.model_copy(update={"certified": {**graph.certified, machine: certificate}})
    )


def record_crf(spec: EngineSpec, setting: CrfSetting | None, gain: CrfGain) -> Path:
    """Note what `tune-crf` decided, for all graphs of the engine; returns the manifest's path.

    Args:
        setting: what `--crf auto` shall do; None: nothing.
        gain: what was measured of the best setting, taken or not.

    Raises:
        EngineMismatch: as `record_scores`.
    """
    path, manifest = manifest_of(spec)
    write_manifest(manifest.model_copy(update={"crf": setting or "none", "crf_gain": gain}), path)
    return path


def revoke_certificate(spec: EngineSpec, machine: str) -> Path:
    """Take back an earlier certificate of this kind of machine, if there is one; returns the manifest's path."""
    path, manifest = manifest_of(spec)
    if any(graph.file == spec.path.name and machine in graph.certified for graph in manifest.graphs):
        _changed(
            spec,
            lambda graph: graph.model_copy(
                update={"certified": {kind: held for kind, held in graph.certified.items() if kind != machine}}
            ),
        )
    return path


def manifest_of(spec: EngineSpec) -> tuple[Path, Manifest]:
    """The manifest beside a graph that lists it.

    Raises:
        EngineMismatch: there is none.
    """
    own = spec.path.parent / f"{spec.name}.json"
    if own.is_file():
        manifest = read_manifest(own)
        if any(graph.file == spec.path.name for graph in manifest.graphs):
            return own, manifest
    raise EngineMismatch(
        f"{spec.path}: there is nowhere to note figures; expected {own.name} beside it that lists it "
        "(`engines export` writes one)"
    )


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write the JSON whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(manifest.model_dump_json(indent=2, exclude_none=True) + "\n", encoding="utf-8")
    partial.replace(path)


def _changed(spec: EngineSpec, change: Callable[[Graph], Graph]) -> Path:
    path, manifest = manifest_of(spec)
    graphs = tuple(change(graph) if graph.file == spec.path.name else graph for graph in manifest.graphs)
    write_manifest(manifest.model_copy(update={"graphs": graphs}), path)
    return path
