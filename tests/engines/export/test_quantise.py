"""int8 graphs: what becomes int8, where its range ends, and what is refused."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engines.errors import ExportError
from engines.export.quantise import quantised
from engines.export.quantise.place import watched_tensors
from engines.export.quantise.ranges import BINS, METHODS, Magnitudes
from engines.runtime import backend_reason


def _graph() -> onnx.ModelProto:
    """uint8 picture, then six convolutions with drawn weights and ReLU between; only `middle` is worth int8."""
    rng = np.random.default_rng(0)
    shapes = {
        "first": (64, 3, 3, 3),
        "narrow": (16, 64, 1, 1),
        "wide": (64, 16, 1, 1),
        "middle": (64, 64, 1, 1),
        "depthwise": (64, 1, 3, 3),
        "last": (2, 64, 1, 1),
    }
    constants = [
        numpy_helper.from_array(
            rng.normal(0, 1 / np.sqrt(shape[1] * shape[2] ** 2), shape).astype(np.float32), f"{name}_w"
        )
        for name, shape in shapes.items()
    ]
    constants.append(numpy_helper.from_array(np.array(1 / 128, np.float32), "unit"))
    nodes = [
        helper.make_node("Cast", ["image_bgr"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["planes", "unit"], ["normalised"]),
    ]
    x = "normalised"
    for name, shape in shapes.items():
        pads, groups = [shape[2] // 2] * 4, 64 if name == "depthwise" else 1
        out = "logits" if name == "last" else f"{name}_y"
        nodes.append(helper.make_node("Conv", [x, f"{name}_w"], [out], pads=pads, group=groups))
        if name != "last":
            nodes.append(helper.make_node("Relu", [out], [f"{name}_relu"]))
            x = f"{name}_relu"
    graph = helper.make_graph(
        nodes,
        "four",
        [helper.make_tensor_value_info("image_bgr", TensorProto.UINT8, [1, 16, 16, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2, 16, 16])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _pictures(n: int = 3) -> list[NDArray[np.uint8]]:
    return list(np.random.default_rng(1).integers(0, 256, (n, 1, 16, 16, 3), dtype=np.uint8))


def _logits(graph: onnx.ModelProto, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"image_bgr": picture})[0]


def test_only_wide_convolutions_in_the_middle_become_int8() -> None:
    """The first, the last, depthwise and narrow ones keep their float weights; everything else is untouched."""
    graph = _graph()

    small, n_pictures = quantised(graph, _pictures())

    types = {tensor.name: tensor.data_type for tensor in small.graph.initializer}
    assert watched_tensors(graph) == ["wide_relu"]
    assert n_pictures == 3
    assert types["middle_w_int8"] == TensorProto.INT8
    assert "middle_w" not in types
    assert {types[f"{name}_w"] for name in ("first", "narrow", "wide", "depthwise", "last")} == {TensorProto.FLOAT}
    assert [node.op_type for node in graph.graph.node].count("QuantizeLinear") == 0


def test_every_zero_point_is_zero_and_weights_are_scaled_by_channel() -> None:
    """The form that TensorRT takes too; the largest weight of each channel is 127."""
    small, _ = quantised(_graph(), _pictures())

    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in small.graph.initializer}
    assert all(not value.any() for name, value in values.items() if name.endswith("_zero"))
    assert values["middle_w_scale"].shape == (64,)
    assert (np.abs(values["middle_w_int8"]).max(axis=(1, 2, 3)) == 127).all()
    onnx.checker.check_model(small, full_check=True)


def test_an_int8_graph_answers_nearly_as_its_fp32_graph() -> None:
    """Rounding to 127 steps costs about one percent of the range of the logits."""
    graph = _graph()
    picture = _pictures(1)[0]

    small, _ = quantised(graph, _pictures(), "minmax")

    expected = _logits(graph, picture)
    assert np.abs(_logits(small, picture) - expected).max() < 0.03 * np.ptp(expected)


def test_openvino_and_onnxruntime_give_the_same_int8_logits(tmp_path: Path) -> None:
    """One file serves both."""
    if reason := backend_reason("openvino"):
        pytest.skip(f"needs openvino: {reason}")
    import openvino as ov

    picture = _pictures(1)[0]
    small, _ = quantised(_graph(), _pictures())
    onnx.save(small, tmp_path / "int8.onnx")
    compiled = ov.Core().compile_model(str(tmp_path / "int8.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    theirs = compiled({"image_bgr": picture})["logits"]

    expected = _logits(small, picture)
    # Where a value lies between two steps, the runtimes may round it to different sides.
    assert np.abs(theirs - expected).max() < 0.02 * np.ptp(expected)


def test_without_pictures_nothing_is_quantised() -> None:
    """Ranges of noise or of nothing would make a graph that looks right and is not."""
    with pytest.raises(ExportError, match="real pictures, and none were given"):
        quantised(_graph(), [])


def test_a_graph_with_nothing_to_gain_is_refused() -> None:
    """With one convolution, first and last at once, int8 would change nothing."""
    graph = _graph()
    first = next(node for node in graph.graph.node if node.op_type == "Conv")
    kept = [*list(graph.graph.node)[:3], first]
    first.output[0] = "logits"
    del graph.graph.node[:]
    graph.graph.node.extend(kept)

    with pytest.raises(ExportError, match="no convolution to quantise"):
        quantised(graph, _pictures())


def test_magnitudes_grow_with_what_they_see() -> None:
    """A later picture may reach eight times as far; nothing counted before is lost."""
    magnitudes = Magnitudes()
    magnitudes.add(np.linspace(-1, 1, 3000, dtype=np.float32))
    before = magnitudes.counts.sum()

    magnitudes.add(np.array([8.0], np.float32))

    assert magnitudes.largest == 8.0
    assert magnitudes.counts.sum() == before + 1
    assert magnitudes.counts[: BINS // 8 + 1].sum() == before
    assert magnitudes.reach("minmax") == 8.0


def test_one_outlier_does_not_stretch_the_range() -> None:
    """Of 90000 values below 1 and a single one of 50, `percentile` keeps the steps for the many, `mse` weighs both."""
    magnitudes = Magnitudes()
    values = np.abs(np.random.default_rng(0).normal(0, 0.2, 90_000)).astype(np.float32)
    values[0] = 50.0

    magnitudes.add(values)

    assert magnitudes.reach("percentile") < 2 < magnitudes.reach("mse") < magnitudes.reach("minmax") == 50.0


@pytest.mark.parametrize("method", METHODS)
def test_a_tensor_of_zeros_has_no_reach(method: str) -> None:
    """A branch that is always off must not divide by zero."""
    magnitudes = Magnitudes()
    magnitudes.add(np.zeros(10, np.float32))

    assert magnitudes.reach(method) == 0.0
