"""A graph replaces another only when it is as good and faster here; names then lead to it."""

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from engines import certify as module
from engines.certify import Verdict, certify, reference_of
from engines.data.formats.folder import Folder
from engines.errors import EngineMismatch, EngineNotFound
from engines.machine import machine_kind
from engines.manifest import Certificate, sha256_of
from engines.names import read_manifest, resolve
from engines.record import manifest_of, record_certificate, revoke_certificate
from tests.engines.runtime.graphs import write_engine

CERTIFICATE = Certificate(
    against="tiny-64x32-fp32.onnx",
    data="toy",
    images=3,
    miou=0.9,
    miou_against=0.9,
    p50_ms=5.0,
    p95_ms=6.0,
    speedup=1.5,
    backend="OpenVINO",
)


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """An engine with an fp32 graph and one that is called int8 (the same file under another name)."""
    path = write_engine(tmp_path / "tiny")
    _add(path, "int8")
    return path


def _add(manifest_path: Path, precision: str, middle: float | None = None) -> None:
    """Another entry: a copy of the fp32 graph, or one that takes other pixels for the subject."""
    folder = manifest_path.parent
    graph = onnx.load(folder / "tiny-64x32-fp32.onnx")
    if middle is not None:
        for tensor in graph.graph.initializer:
            if tensor.name == "middle":
                tensor.CopyFrom(numpy_helper.from_array(np.array(middle, np.float32), "middle"))
    helper.set_model_props(graph, {"precision": precision})
    file = folder / f"tiny-64x32-{precision}.onnx"
    onnx.save(graph, file)
    tree = json.loads(manifest_path.read_text())
    entry = {"file": file.name, "width": 64, "height": 32, "precision": precision, "sha256": sha256_of(file)}
    manifest_path.write_text(json.dumps({**tree, "graphs": [*tree["graphs"], entry]}))


@pytest.fixture
def pairs(tmp_path: Path) -> Folder:
    """Three pictures whose left half is blue, and labelled as the subject."""
    for kind in ("images", "masks"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    image, labels = _picture()
    for index in range(3):
        cv2.imwrite(str(tmp_path / "data" / "images" / f"{index}.png"), image)
        cv2.imwrite(str(tmp_path / "data" / "masks" / f"{index}.png"), labels)
    return Folder(tmp_path / "data", 2)


def _picture() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    image, labels = np.zeros((32, 64, 3), np.uint8), np.zeros((32, 64), np.uint8)
    image[:, :32, 0], labels[:, :32] = 160, 1
    return image, labels


def _times(monkeypatch: pytest.MonkeyPatch, ms: float, ms_against: float) -> None:
    """What the clock would say; real times have no place in a test."""
    shape = (module.N_ROUNDS, module.N_INFERENCES)
    monkeypatch.setattr(module, "_interleaved", lambda *_: (np.full(shape, ms), np.full(shape, ms_against)))


def _certified(path: Path, pairs: Folder) -> Verdict:
    spec = resolve(f"{path}:int8")
    return certify(spec, reference_of(spec), pairs, "toy")


def test_as_good_and_faster_is_certified(engine: Path, pairs: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificate says against what, on which pictures, and how long both took."""
    _times(monkeypatch, 4.0, 6.0)

    verdict = _certified(engine, pairs)

    found = verdict.certificate
    assert verdict.objections == ()
    assert (found.against, found.data, found.images) == ("tiny-64x32-fp32.onnx", "toy", 3)
    assert found.miou == found.miou_against > 0.9
    assert (found.p50_ms, found.p95_ms, found.speedup) == (4.0, 4.0, 1.5)


def test_slower_is_refused(engine: Path, pairs: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """int8 without the right instructions costs time; the objection has both figures."""
    _times(monkeypatch, 6.0, 4.0)

    assert _certified(engine, pairs).objections == ("it takes 1.50 times as long as tiny 64x32 fp32 (6.0 ms)",)


def test_worse_is_refused(tmp_path: Path, pairs: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than 0.3 points of mIoU is too much for any speed."""
    path = write_engine(tmp_path / "tiny")
    _add(path, "int8", middle=200)  # nothing in the pictures is that blue
    _times(monkeypatch, 1.0, 6.0)

    (objection,) = _certified(path, pairs).objections

    assert "points below tiny 64x32 fp32 (at most 0.30)" in objection


def test_both_graphs_are_timed_in_turns(engine: Path, pairs: Folder) -> None:
    """A real measurement: every round times both."""
    spec = resolve(f"{engine}:int8")

    verdict = certify(spec, reference_of(spec), pairs, "toy", n_rounds=2)

    assert 0 < verdict.certificate.p50_ms <= verdict.certificate.p95_ms


def test_a_name_leads_to_the_certified_graph_on_this_kind_of_machine_only(engine: Path) -> None:
    """Elsewhere, and where fp32 is asked for, everything stays as it was."""
    spec = resolve(f"{engine}:int8")

    record_certificate(spec, "another machine", CERTIFICATE)
    elsewhere = resolve(engine)
    record_certificate(spec, machine_kind(), CERTIFICATE)

    assert elsewhere.precision == "fp32"
    assert resolve(engine).precision == resolve(f"{engine}@64x32").precision == "int8"
    assert resolve(f"{engine}:fp32").precision == "fp32"
    assert resolve(engine.parent / "tiny-64x32-fp32.onnx").precision == "fp32"


def test_of_two_certified_graphs_the_faster_is_taken(engine: Path) -> None:
    """Faster than the same reference: the ratio is compared, not milliseconds of different days."""
    _add(engine, "bf16")

    record_certificate(resolve(f"{engine}:int8"), machine_kind(), CERTIFICATE)
    record_certificate(resolve(f"{engine}:bf16"), machine_kind(), CERTIFICATE.model_copy(update={"speedup": 2.0}))

    assert resolve(engine).precision == "bf16"


def test_a_certificate_can_be_taken_back(engine: Path) -> None:
    """After a refusal the name leads to the default graph again; other machines' certificates stay."""
    spec = resolve(f"{engine}:int8")
    for machine in (machine_kind(), "another machine"):
        record_certificate(spec, machine, CERTIFICATE)

    revoke_certificate(spec, machine_kind())

    assert resolve(engine).precision == "fp32"
    assert list(read_manifest(engine).graphs[1].certified) == ["another machine"]


def test_only_graphs_that_could_replace_each_other_are_compared(tmp_path: Path) -> None:
    """Another size is another engine; a graph without a manifest has nowhere to note figures."""
    path = write_engine(tmp_path / "tiny", sizes=((64, 32), (32, 32)))
    small = resolve(f"{path}@32x32")

    with pytest.raises(EngineMismatch, match="cannot replace tiny 64x32 fp32: expected the same size"):
        reference_of(small, f"{path}@64x32")
    tree = json.loads(path.read_text())
    tree["graphs"][1]["precision"] = "int8"
    path.write_text(json.dumps(tree))
    with pytest.raises(EngineNotFound, match="lists no fp32 graph of 32x32"):
        reference_of(resolve(f"{path}@32x32"))
    path.unlink()
    with pytest.raises(EngineMismatch, match="nowhere to note figures"):
        manifest_of(small)


def test_the_graph_for_one_picture_is_the_one_to_compare_with(engine: Path) -> None:
    """An open graph of the same size and precision is another one, wherever it stands; alone it will do."""
    tree = json.loads(engine.read_text())
    first = tree["graphs"][0]
    opened = {**first, "file": "tiny-64x32-xN-fp32.onnx", "any_batch": True}
    engine.write_text(json.dumps({**tree, "graphs": [opened, *tree["graphs"]]}))
    assert reference_of(resolve(f"{engine}:int8")).path.name == first["file"]

    engine.write_text(json.dumps({**tree, "graphs": [tree["graphs"][1], opened]}))
    assert reference_of(resolve(f"{engine}:int8")).path.name == opened["file"]


def test_a_manifest_of_schema_1_is_still_read(engine: Path) -> None:
    """An engine that was exported before knows neither batches nor certificates."""
    tree = json.loads(engine.read_text())
    engine.write_text(json.dumps({**tree, "schema_version": 1}))

    manifest = read_manifest(engine)

    assert (manifest.schema_version, manifest.graphs[0].batch, manifest.graphs[0].certified) == (1, 1, {})
    engine.write_text(json.dumps({**tree, "schema_version": 9}))
    with pytest.raises(EngineMismatch, match="schema_version"):
        read_manifest(engine)


def test_a_wrong_number_of_classes_is_refused_on_opening(engine: Path) -> None:
    """Seen before only at the first frame: the manifest said three classes, the graph had two."""
    from engines.runtime import open_engine

    tree = json.loads(engine.read_text())
    tree = {**tree, "classes": [*tree["classes"], "dog"], "palette": [*tree["palette"], [1, 2, 3]]}
    engine.write_text(json.dumps(tree))

    for backend in ("openvino", "onnxruntime"):
        with (
            pytest.raises(EngineMismatch, match=r"'logits' is float32 \(1, 2, 8, 16\), the manifest promises"),
            open_engine(str(engine), backend=backend, outputs=("alpha",)),
        ):
            pass
