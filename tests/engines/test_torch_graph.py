"""ONNX operators in torch, beside ONNX Runtime; and the graphs that ship."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.errors import EngineMismatch
from engines.names import resolve
from engines.runtime import open_engine

pytestmark = pytest.mark.torch

SHAPE = (1, 4, 6, 8)
"""Of the image that a node under test sees, as float32 planes; from uint8 (1, 6, 8, 4)."""


def i64(*values: int) -> np.ndarray[Any, Any]:
    """A constant of numbers that are a shape, axes or bounds."""
    return np.array(values, np.int64)


WEIGHT = np.random.default_rng(2).normal(0, 0.3, (6, 4, 3, 3)).astype(np.float32)
PER_GROUP = np.random.default_rng(3).normal(0, 0.3, (4, 1, 3, 3)).astype(np.float32)
SMALL = np.random.default_rng(4).normal(0, 1, (8, 5)).astype(np.float32)

SHORT = {"starts": i64(0, 0), "ends": i64(1), "axes": i64(2, 3)}
"""Bounds of which one is missing."""

Case = tuple[str, list[Any], dict[str, Any]]
CASES: dict[str, Case] = {
    "convolution": ("Conv", ["x", WEIGHT, np.ones(6, np.float32)], {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    "convolution, uneven pads": ("Conv", ["x", WEIGHT], {"pads": [0, 1, 2, 0]}),
    "convolution, depthwise, dilated": ("Conv", ["x", PER_GROUP], {"group": 4, "dilations": [2, 2], "pads": [2] * 4}),
    "clip": ("Clip", ["x", np.float32(0.1), np.float32(0.6)], {}),
    "clip from below": ("Clip", ["x", np.float32(0.3)], {}),
    "mean of planes": ("ReduceMean", ["x", i64(2, 3)], {}),
    "maximum of classes": ("ReduceMax", ["x", i64(1)], {"keepdims": 0}),
    "log of summed powers": ("ReduceLogSumExp", ["x", i64(1)], {}),
    "global mean": ("GlobalAveragePool", ["x"], {}),
    "largest of windows": ("MaxPool", ["x"], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "largest of windows, uneven": ("MaxPool", ["x"], {"kernel_shape": [3, 3], "pads": [0, 0, 1, 1]}),
    "mean of windows": ("AveragePool", ["x"], {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "mean of windows, border counted": (
        "AveragePool", ["x"], {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1},
    ),
    "pad with the edge": ("Pad", ["x", i64(0, 0, 0, 0, 0, 0, 1, 1)], {"mode": "edge"}),
    "pad two axes": ("Pad", ["x", i64(1, 0, 2, 1), np.float32(0.5), i64(2, 3)], {"mode": "constant"}),
    "enlarge to a size": ("Resize", ["x", "", "", i64(1, 4, 12, 16)], {"mode": "linear"}),
    "enlarge by corners": (
        "Resize", ["x", "", "", i64(1, 4, 11, 15)],
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    ),
    "enlarge by a factor": ("Resize", ["x", "", np.array([1, 1, 4, 4], np.float32)], {"mode": "linear"}),
    "repeat pixels": (
        "Resize", ["x", "", np.array([1, 1, 2, 2], np.float32)],
        {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    ),
    "cut with steps": ("Slice", ["x", i64(0, 1), i64(9, 7), i64(2, 3), i64(2, 3)], {}),
    "one plane": ("Gather", ["x", np.array(2, np.int64)], {"axis": 1}),
    "some planes": ("Gather", ["x", i64(2, 0)], {"axis": 1}),
    "larger of two": ("Max", ["x", np.float32(0.1)], {}),
    "smaller of two": ("Min", ["x", np.float32(0.1)], {}),
    "join": ("Concat", ["x", "x"], {"axis": 1}),
    "matrix product": ("MatMul", ["x", SMALL], {}),
    "softmax": ("Softmax", ["x"], {"axis": 1}),
    "normalise": (
        "BatchNormalization",
        ["x", *(np.linspace(low, low + 1, 4).astype(np.float32) for low in (0.5, -1, 0.1, 0.2))], {"epsilon": 1e-3},
    ),
    "reshape": ("Reshape", ["x", i64(1, 4, -1)], {}),
    "hard swish": ("HardSwish", ["x"], {}),
    "hard sigmoid": ("HardSigmoid", ["x"], {"alpha": 1 / 6}),
    "leaky": ("LeakyRelu", ["x"], {"alpha": 0.2}),
}  # fmt: skip


def graph_of(nodes: Sequence[onnx.NodeProto], constants: dict[str, Any], opset: int = 18) -> onnx.ModelProto:
    """uint8 (1, 6, 8, 4) `image_bgr`, centred around zero as `x`, through the nodes to `y`."""
    before = [
        helper.make_node("Cast", ["image_bgr"], ["bytes"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["bytes"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Div", ["planes", "scale"], ["one"]),
        helper.make_node("Sub", ["one", "half"], ["x"]),
    ]
    constants = {"scale": np.float32(255), "half": np.float32(0.5), **constants}
    graph = helper.make_graph(
        [*before, *nodes],
        "case",
        [helper.make_tensor_value_info("image_bgr", TensorProto.UINT8, [1, SHAPE[2], SHAPE[3], SHAPE[1]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def of_both(graph: onnx.ModelProto) -> tuple[Any, Any]:
    """What torch and ONNX Runtime make of the same noise."""
    import torch

    from engines.torch_graph.module import module_of

    image = np.random.default_rng(1).integers(0, 256, (1, SHAPE[2], SHAPE[3], SHAPE[1]), dtype=np.uint8)
    with torch.inference_mode():
        (ours,) = module_of(graph, ["y"], "fp32", Path("case.onnx"))(torch.from_numpy(image))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    (theirs,) = session.run(["y"], {"image_bgr": image})
    return ours.numpy(), theirs


@pytest.mark.parametrize("name", CASES)
def test_an_operator_is_what_onnx_runtime_says_it_is(name: str) -> None:
    """Same shape, same numbers; sums in another order differ by the last digits."""
    kind, inputs, attributes = CASES[name]
    constants = {f"c{place}": value for place, value in enumerate(inputs) if not isinstance(value, str)}
    names = [value if isinstance(value, str) else f"c{place}" for place, value in enumerate(inputs)]

    ours, theirs = of_both(graph_of([helper.make_node(kind, names, ["y"], **attributes)], constants))

    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("Clip", {"min": -0.2, "max": 0.1}),
        ("Clip", {"min": 0.1}),
        ("Pad", {"pads": [0, 0, 1, 0, 0, 0, 0, 2], "value": 0.5}),
    ],
)
def test_older_graphs_have_their_numbers_in_attributes(kind: str, attributes: dict[str, Any]) -> None:
    """Up to opset 10; one number stands there without a list around it."""
    ours, theirs = of_both(graph_of([helper.make_node(kind, ["x"], ["y"], **attributes)], {}, opset=10))

    np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize("per_channel", [False, True])
def test_int8_is_calculated_as_its_numbers_say(per_channel: bool) -> None:
    """Quantised pixels and quantised weights, one scale for all or one a channel: the same steps, held as floats."""
    scales = np.linspace(0.01, 0.02, 6).astype(np.float32) if per_channel else np.float32(0.013)
    weights = np.random.default_rng(5).integers(-128, 128, WEIGHT.shape).astype(np.int8)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
        helper.make_node("Conv", ["d", "wd"], ["y"]),
    ]
    zeros = np.zeros(6 if per_channel else (), np.int8)
    constants = {"s": np.float32(0.004), "z": np.uint8(120), "w": weights, "ws": scales, "wz": zeros}

    ours, theirs = of_both(graph_of(nodes, constants))

    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_an_operator_without_a_rule_is_refused_by_name() -> None:
    """The node is named, and the backends that serve it."""
    node = helper.make_node("GridSample", ["x", "c0"], ["y"], name="look around")
    graph = graph_of([node], {"c0": np.zeros((1, 6, 8, 2), np.float32)})

    with pytest.raises(EngineMismatch, match=r"case\.onnx: .* operator GridSample of node 'look around'"):
        of_both(graph)


@pytest.mark.parametrize(
    ("kind", "inputs", "attributes", "told"),
    [
        ("Conv", ["x", "c0"], {"auto_pad": "SAME_UPPER"}, "auto_pad"),
        ("Resize", ["x", "", "", "c1"], {"mode": "cubic"}, "cubic"),
        ("Reshape", ["x", "x"], {}, "only known while it runs"),
        ("Max", ["x"], {}, "it has 1 inputs, not two"),
        ("Min", ["x", "x", "x"], {}, "it has 3 inputs, not two"),
        ("Slice", ["x", "starts", "ends", "axes"], {}, "Slice of node 'y' .*zip"),
        ("MatMul", ["starts", "c0"], {}, "MatMul of node 'y' "),
        ("Conv", ["x", "c0"], {"pads": 1}, "Conv of node 'y' .*int"),
    ],
)
def test_what_torch_does_otherwise_is_refused(kind: str, inputs: list[str], attributes: Any, told: str) -> None:
    """A known operator in a form that has no rule is told with the reason, and never calculated differently."""
    graph = graph_of(
        [helper.make_node(kind, inputs, ["y"], **attributes)], {"c0": WEIGHT, "c1": i64(1, 4, 12, 16), **SHORT}
    )

    with pytest.raises(EngineMismatch, match=told):
        of_both(graph)


def test_a_softmax_of_older_graphs_is_refused() -> None:
    """Before opset 13 it went over all axes from one on, and its default axis was another."""
    graph = graph_of([helper.make_node("Softmax", ["x"], ["y"], axis=1)], {}, opset=12)

    with pytest.raises(EngineMismatch, match=r"Softmax of node 'y' .before opset 13 .* the graph's is 12"):
        of_both(graph)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_engine_that_ships_answers_alike(precision: str) -> None:
    """The person engine has no checkpoint beside it: its graph is enough."""
    spec = resolve(f"person@256x256:{precision}")
    image = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3), dtype=np.uint8)
    image[:, 64:192, 64:192] //= 4
    answers = []
    for backend in ("torch_cpu", "onnxruntime"):
        with open_engine(spec, backend=backend, n_threads=1) as engine:
            out = {name: np.zeros(spec.output_shape(name), spec.output_dtype(name)) for name in spec.output.names}
            engine.infer({"image_bgr": image}, out)
        answers.append(out)
    ours, theirs = answers

    # int8: ONNX Runtime sums integers, and rounds once where we round twice; a step more or less is 0.03 of a logit.
    np.testing.assert_allclose(ours["logits"], theirs["logits"], atol=1e-4 if precision == "fp32" else 0.5)
    assert float((ours["labels"] != theirs["labels"]).mean()) <= (0 if precision == "fp32" else 0.01)
