"""The hash of a graph whose weights lie in files of their own beside it."""

from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from engines.errors import EngineMismatch
from engines.manifest import sha256_of
from engines.plans.weights import graph_sha256, weight_files
from engines.spec import EngineSpec
from tests.engines.plans.worlds import key, tiny_spec


@pytest.fixture
def inside(tmp_path: Path) -> EngineSpec:
    """A graph of 64x32 in one file."""
    return tiny_spec(tmp_path / "inside")


@pytest.fixture
def outside(inside: EngineSpec, tmp_path: Path) -> EngineSpec:
    """The same graph, its constants in `w/tiny.onnx.data`."""
    path = tmp_path / "outside" / "tiny.onnx"
    (path.parent / "w").mkdir(parents=True)
    onnx.save_model(
        onnx.load(inside.path), str(path), save_as_external_data=True, location="w/tiny.onnx.data", size_threshold=0
    )
    return replace(inside, path=path, sha256=sha256_of(path))


def test_a_graph_in_one_file_is_hashed_as_it_is(inside: EngineSpec) -> None:
    """Keys of plans that were built before stay what they were."""
    assert weight_files(inside.path) == []
    assert graph_sha256(inside) == inside.sha256


def test_other_weights_are_another_graph(outside: EngineSpec) -> None:
    """Trained on, exported again: the small file is the same, the key of its plan is not."""
    weights = outside.path.parent / "w" / "tiny.onnx.data"
    before = key(outside)
    assert weight_files(outside.path) == [weights]

    data = bytearray(weights.read_bytes())
    data[0] ^= 1
    weights.write_bytes(data)

    assert key(outside).digest != before.digest
    assert sha256_of(outside.path) == outside.sha256


def test_weights_in_an_attribute_are_found(outside: EngineSpec) -> None:
    """A constant may be a node instead of an initializer."""
    model = onnx.load(str(outside.path), load_external_data=False)
    moved = model.graph.initializer.pop()
    node = model.graph.node.add(op_type="Constant", output=[moved.name], name="moved")
    node.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(moved)
    del model.graph.initializer[:]
    outside.path.write_bytes(model.SerializeToString())

    assert [file.name for file in weight_files(outside.path)] == ["tiny.onnx.data"]


def test_missing_weights_are_named(outside: EngineSpec) -> None:
    """A graph that was copied without them."""
    (outside.path.parent / "w" / "tiny.onnx.data").unlink()

    with pytest.raises(EngineMismatch, match=r"weights in w/tiny\.onnx\.data, which is not beside it; copy both"):
        key(outside)


def test_weights_outside_the_folder_are_refused(outside: EngineSpec) -> None:
    """A graph from somewhere must not make us read what lies elsewhere."""
    model = onnx.load(str(outside.path), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = "../inside/tiny.json" if entry.key == "location" else entry.value
    outside.path.write_bytes(model.SerializeToString())

    with pytest.raises(EngineMismatch, match=r"\.\./inside/tiny\.json, outside its folder; save them inside"):
        key(outside)


@pytest.mark.parametrize("n_bytes", [1, 300, -1])
def test_a_file_that_is_cut_short_is_told(inside: EngineSpec, n_bytes: int) -> None:
    """No traceback, whatever the first bytes look like."""
    inside.path.write_bytes(inside.path.read_bytes()[:n_bytes])

    with pytest.raises(EngineMismatch, match="not an ONNX file"):
        weight_files(inside.path)
