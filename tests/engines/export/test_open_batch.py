"""A graph for one picture a call is opened for any number: what holds the batch is found, what cannot be is refused."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.errors import ExportError
from engines.export.open_batch import fix_sides, open_batch
from engines.manifest import Difference, Graph, sha256_of
from engines.names import resolve
from engines.runtime import open_engine
from tests.engines.runtime.graphs import write_graph

WIDTH, HEIGHT = 32, 16
SMALL = (HEIGHT // 4, WIDTH // 4)


def written(path: Path, flattened: list[int]) -> Graph:
    """Blue as logits, by a Reshape, an Expand and a Resize that all name the batch, as exporters write them.

    Args:
        flattened: the shape of the Reshape, of (1, 3, height, width).
    """
    constants = {
        "blue": np.array(0, np.int64),
        "flat": np.array(flattened, np.int64),
        "back": np.array([0, 3, HEIGHT, WIDTH], np.int64),
        "two": np.array([1, 2, 1, 1], np.int64),
        "sizes": np.array([1, 2, *SMALL], np.int64),
        "signs": np.array([-1, 1], np.float32).reshape(1, 2, 1, 1),
        "axis": np.array([1], np.int64),
        "full": np.array([1, HEIGHT, WIDTH], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["image_bgr"], ["image"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Reshape", ["planes", "flat"], ["flattened"]),
        helper.make_node("Reshape", ["flattened", "back"], ["again"]),
        helper.make_node("Gather", ["again", "blue"], ["one"], axis=1),
        helper.make_node("Unsqueeze", ["one", "axis"], ["plane"]),
        helper.make_node("Expand", ["plane", "two"], ["both"]),
        helper.make_node("Mul", ["both", "signs"], ["signed"]),
        helper.make_node("Resize", ["signed", "", "", "sizes"], ["logits"], mode="nearest"),
        helper.make_node("Clip", ["one"], ["clipped"]),
        helper.make_node("Cast", ["clipped"], ["labels"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "batched",
        [helper.make_tensor_value_info("image_bgr", TensorProto.UINT8, [1, HEIGHT, WIDTH, 3])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2, *SMALL]),
            helper.make_tensor_value_info("labels", TensorProto.UINT8, [1, HEIGHT, WIDTH]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return Graph(file=path.name, width=WIDTH, height=HEIGHT, sha256=sha256_of(path))


def test_what_holds_the_batch_inside_a_graph_is_opened(tmp_path: Path) -> None:
    """The sizes of a Resize and the shape of a Reshape: three pictures in one call are what they are alone."""
    fixed = tmp_path / "fixed.onnx"

    entry = open_batch(fixed, written(fixed, [1, 3, HEIGHT * WIDTH]), tmp_path / "open.onnx")

    assert (entry.file, entry.any_batch, entry.batch, entry.label) == ("open.onnx", True, 1, "32x16 fp32 xN")
    assert entry.difference == Difference(logits=0.0, labels=1.0, images=2, on="noise")
    images = np.random.default_rng(0).integers(0, 256, (3, HEIGHT, WIDTH, 3), np.uint8)
    with open_engine(tmp_path / "open.onnx", backend="onnxruntime", n_threads=1, max_batch=3) as engine:
        spec = engine.spec
        out = {name: np.zeros(spec.output_shape(name, 3), spec.output_dtype(name)) for name in spec.output.names}
        engine.infer({"image_bgr": images}, out)
    assert np.array_equal(out["labels"], images[..., 0])
    assert np.array_equal(out["logits"][:, 1], -out["logits"][:, 0])
    for alone, image in zip(out["logits"][:, 1], images, strict=True):
        assert set(alone.ravel()) <= set(image[..., 0].ravel()), "nearest: values of its own picture"


def test_a_graph_that_mixes_the_batch_with_something_else_is_refused(tmp_path: Path) -> None:
    """It is valid, and fails when it runs: that is tried before a file is written."""
    fixed = tmp_path / "fixed.onnx"
    entry = written(fixed, [3 * HEIGHT * WIDTH])

    with pytest.raises(ExportError, match=r"fixed\.onnx: does not run with 2 pictures a call"):
        open_batch(fixed, entry, tmp_path / "open.onnx")

    assert [path.name for path in tmp_path.iterdir()] == ["fixed.onnx"]


def test_only_a_graph_for_one_picture_is_opened(tmp_path: Path) -> None:
    """What is open already, or was made for a batch of its own, is refused by name."""
    path = write_graph(tmp_path / "tiny.onnx", WIDTH, HEIGHT)
    entry = Graph(file=path.name, width=WIDTH, height=HEIGHT, sha256=sha256_of(path))

    for other in (entry.model_copy(update={"batch": 4}), entry.model_copy(update={"any_batch": True})):
        with pytest.raises(ExportError, match="only a graph for one picture a call"):
            open_batch(path, other, tmp_path / "open.onnx")

    assert resolve(path).any_batch is False


def test_calculated_sizes_can_be_made_constants_again(tmp_path: Path) -> None:
    """What only they needed goes with them, and height and width are those of the graph that was opened."""
    fixed = tmp_path / "fixed.onnx"
    open_batch(fixed, written(fixed, [1, 3, HEIGHT * WIDTH]), tmp_path / "open.onnx")
    graph = onnx.load(tmp_path / "open.onnx")
    assert [node.op_type for node in graph.graph.node].count("Shape") == 1

    for _ in range(2):  # once more changes nothing
        fix_sides(graph)

    kinds = [node.op_type for node in graph.graph.node]
    assert "Shape" not in kinds
    assert "Concat" not in kinds
    resize = next(node for node in graph.graph.node if node.op_type == "Resize")
    sizes = next(constant for constant in graph.graph.initializer if constant.name == resize.input[3])
    assert numpy_helper.to_array(sizes).tolist() == [1, 1, *SMALL]
