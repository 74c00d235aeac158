"""From what a person types to one graph: `NAME[@WxH][:precision]`, a manifest, or an ONNX file.

Searched in this order: the path itself, the folders of SEGSTREAM_ENGINES, `./engines`, the user's
data folder, the zoo that ships. In a folder, `NAME/NAME.json` comes before `NAME.json`. The first
hit wins whole: sizes are never collected over several folders.

The trap: without a precision, a graph that `certify` found to be as good and faster on this kind of
machine is taken instead of the default one, at the same size; `NAME:fp32` takes no notice of certificates.
"""

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from configs import near_matches
from engines.errors import EngineMismatch, EngineNotFound
from engines.machine import machine_kind
from engines.manifest import Graph, Manifest, sha256_of
from engines.size import WXH, Size
from engines.spec import EngineSpec, InputSpec

__all__ = ["KnownEngine", "check_file", "known_engines", "read_manifest", "resolve", "search_folders", "spec_of"]

ZOO = Path(__file__).parent / "zoo"
"""Engines that ship with the package."""

FAKE = "fake"
"""Prefix of the engine without a file; see `engines.runtime.fake_engine`."""

_TEXT = re.compile(rf"(?P<name>.+?)(@(?P<size>{WXH}))?(:(?P<precision>\w+))?")


@dataclass(frozen=True)
class KnownEngine:
    """One manifest that a name leads to."""

    name: str
    manifest_path: Path
    manifest: Manifest | None
    """None when it cannot be read; `problem` says why."""
    problem: str = ""

    @property
    def graphs(self) -> str:
        """`512x288 fp32, 256x256 fp32`, as lists and errors show them."""
        return "" if self.manifest is None else _graphs(self.manifest)


def search_folders() -> list[Path]:
    """Where names are looked up, best first; folders that do not exist are included."""
    asked = [Path(text).expanduser() for text in os.environ.get("SEGSTREAM_ENGINES", "").split(os.pathsep) if text]
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return [*asked, Path("engines"), data / "segstream" / "engines", ZOO]


def known_engines() -> list[KnownEngine]:
    """All manifests that names lead to, hidden and broken ones included, in the order of the search."""
    known: list[KnownEngine] = []
    seen: set[Path] = set()
    for folder in search_folders():
        for file in sorted({*folder.glob("*/*.json"), *folder.glob("*.json")}):
            if file.parent != folder and file.parent.name != file.stem:
                continue
            if file.resolve() in seen:
                continue
            seen.add(file.resolve())
            try:
                manifest = read_manifest(file)
            except EngineMismatch as error:
                if file.parent != folder:  # a stray .json is nobody's engine; NAME/NAME.json is meant to be one
                    known.append(KnownEngine(file.stem, file, None, str(error)))
                continue
            known.append(KnownEngine(file.stem, file, manifest))
    return known


def resolve(text: str | Path) -> EngineSpec:
    """Find the one graph that `text` names, and check its file.

    Args:
        text: `person`, `person@256x256`, `person:fp16`, a path to a manifest (size and precision may
            follow), a folder that holds `<folder>.json`, or a path to an `.onnx`. An `.onnx` without a
            manifest that lists it is read by its own metadata (`engines.runtime.graph_facts`).

    Raises:
        EngineNotFound: no such name, size or precision; lists near matches and what there is.
        EngineMismatch: the manifest is not valid, or its file is missing or differs.
    """
    text = str(text)
    if text == FAKE or text.startswith((f"{FAKE}@", f"{FAKE}?")):
        from engines.runtime.fake_engine import fake_spec

        return fake_spec(text)
    if Path(text).suffix == ".onnx":
        return _from_onnx(Path(text))
    match = _TEXT.fullmatch(text)
    if match is None:
        raise EngineNotFound(f"engine {text!r}: expected NAME[@WxH][:precision] or a path")
    size = Size.from_text(match["size"]) if match["size"] else None
    manifest_path = _manifest_path(match["name"])
    manifest = read_manifest(manifest_path)
    spec = spec_of(manifest, _pick(manifest, manifest_path, size, match["precision"]), manifest_path.parent)
    check_file(spec)
    return spec


def read_manifest(path: Path) -> Manifest:
    """Read `<name>.json`.

    Raises:
        EngineMismatch: not readable, not JSON, or not a manifest.
    """
    try:
        return Manifest.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise EngineMismatch(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "manifest"
        raise EngineMismatch(
            f"{path}: {place}: {first['msg'].removeprefix('Value error, ')}; export it again"
        ) from error
    except ValueError as error:
        raise EngineMismatch(f"{path}: not valid JSON ({error}); export it again") from error


def spec_of(manifest: Manifest, graph: Graph, folder: Path) -> EngineSpec:
    """One graph of a manifest as what a backend opens; `folder` holds the files."""
    return EngineSpec(
        name=manifest.name,
        path=folder / graph.file,
        input=InputSpec.of(graph.size, manifest.resize),
        output=manifest.meaning.output,
        palette=manifest.palette,
        precision=graph.precision,
        sha256=graph.sha256,
        batch=graph.batch,
        any_batch=graph.any_batch,
    )


def check_file(spec: EngineSpec) -> None:
    """Raise EngineMismatch unless the file is there and is the one its manifest was written for."""
    if spec.path.name.startswith(FAKE) and not spec.path.suffix:
        return
    if not spec.path.is_file():
        raise EngineMismatch(f"{spec.label}: {spec.path} is missing; export it again or correct its manifest")
    if spec.sha256 and (found := sha256_of(spec.path)) != spec.sha256:
        raise EngineMismatch(
            f"{spec.path} is not the file its manifest describes (sha256 {found[:12]}…, expected {spec.sha256[:12]}…); "
            "fetch or export it again"
        )


def _manifest_path(name: str) -> Path:
    path = Path(name).expanduser()
    if path.suffix == ".json" or os.sep in name:
        if path.is_dir():
            path = path / f"{path.resolve().name}.json"
        if path.is_file():
            return path
        raise EngineNotFound(f"no engine at {name}; expected a manifest (.json), a graph (.onnx) or a name")
    for folder in search_folders():
        for file in (folder / name / f"{name}.json", folder / f"{name}.json"):
            if file.is_file():
                return file
    names = {known.name for known in known_engines()}
    hint = near_matches(name, names) if names else "none is installed"
    where = ", ".join(str(folder) for folder in search_folders())
    raise EngineNotFound(f"no engine called {name!r}; {hint} (searched {where})")


def _pick(manifest: Manifest, path: Path, size: Size | None, precision: str | None) -> Graph:
    default = next((graph for graph in manifest.graphs if graph.file == manifest.default_graph), manifest.graphs[0])
    fitting = [
        graph
        for graph in manifest.graphs
        if size in (None, graph.size) and precision in (None, graph.precision) and graph.batch == 1
    ]
    # One for any batch is taken where it is the only one; a runtime may know shortcuts for one picture a call.
    fitting = [graph for graph in fitting if not graph.any_batch] or fitting
    if not fitting:
        asked = " ".join(word for word in (str(size or ""), precision or "") if word)
        raise EngineNotFound(f"engine {manifest.name!r} has no graph {asked}; {path} lists {_graphs(manifest)}")
    if default in fitting:
        chosen = default
    else:
        chosen = next((graph for graph in fitting if graph.precision == default.precision), fitting[0])
    return chosen if precision else _certified_here(chosen, fitting)


def _certified_here(chosen: Graph, fitting: list[Graph]) -> Graph:
    """The fastest graph of the same size that was certified against `chosen` on this kind of machine, or `chosen`."""
    if not any(graph.certified for graph in fitting):
        return chosen
    here = machine_kind()
    fastest, best = chosen, 1.0
    for graph in fitting:
        certificate = graph.certified.get(here)
        if graph.size != chosen.size or certificate is None:
            continue
        if certificate.against == chosen.file and certificate.speedup > best:
            fastest, best = graph, certificate.speedup
    return fastest


def _graphs(manifest: Manifest) -> str:
    return ", ".join(graph.label for graph in manifest.graphs)


def _from_onnx(path: Path) -> EngineSpec:
    path = path.expanduser()
    if not path.is_file():
        raise EngineNotFound(f"no engine at {path}; expected an ONNX graph, a manifest or a name")
    for manifest in _manifests_beside(path):
        for graph in manifest.graphs:
            if graph.file == path.name:
                spec = spec_of(manifest, graph, path.parent)
                check_file(spec)
                return spec
    from engines.runtime.graph_facts import spec_from_graph

    return replace(spec_from_graph(path), sha256=sha256_of(path))


def _manifests_beside(path: Path) -> Iterable[Manifest]:
    own = path.with_suffix(".json")
    for file in sorted(path.parent.glob("*.json"), key=lambda file: (file != own, file.name)):
        try:
            yield read_manifest(file)
        except EngineMismatch:
            if file == own:  # meant for this very graph: its fault must not be passed over
                raise
