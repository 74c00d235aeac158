"""fp16 and bf16 graphs: typed inside, the same contract outside."""

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engines.errors import BackendUnavailable, ExportError
from engines.export.lower import lowered
from engines.names import resolve
from engines.runtime import backend_reason, open_engine


def _graph(largest_weight: float = 0.5) -> onnx.ModelProto:
    """Normalisation, a convolution, ReLU6 and a mean inside; the zero of ReLU6 also cuts the labels."""
    rng = np.random.default_rng(0)
    weight = rng.uniform(-0.5, 0.5, (2, 3, 4, 4)).astype(np.float32)
    weight[0, 0, 0, 0] = largest_weight
    constants = {
        "weight": weight,
        "slope": np.array(1 / 127.5, np.float32),
        "shift": np.array(1, np.float32),
        "zero": np.array(0, np.float32),
        "six": np.array(6, np.float32),
        "axes": np.array([2, 3], np.int64),
        "axis": np.array([1], np.int64),
        "scales": np.array([1, 1, 4, 4], np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["image_bgr"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["planes", "slope"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "shift"], ["normalised"]),
        helper.make_node("Conv", ["normalised", "weight"], ["features"], strides=[4, 4]),
        helper.make_node("Clip", ["features", "zero", "six"], ["relu6"]),
        helper.make_node("ReduceMean", ["relu6", "axes"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["relu6", "mean"], ["logits"]),
        helper.make_node("Resize", ["logits", "", "scales"], ["full"], mode="linear"),
        helper.make_node("ReduceSum", ["full", "axis"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["is_one"]),
        helper.make_node("Cast", ["is_one"], ["labels"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image_bgr", TensorProto.UINT8, [1, 32, 64, 3])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2, 8, 16]),
            helper.make_tensor_value_info("labels", TensorProto.UINT8, [1, 32, 64]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _picture() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (1, 32, 64, 3), dtype=np.uint8)


def _answers(graph: onnx.ModelProto) -> list[NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["logits", "labels"], {"image_bgr": _picture()})


@pytest.mark.parametrize(("precision", "code"), [("fp16", TensorProto.FLOAT16), ("bf16", TensorProto.BFLOAT16)])
def test_the_network_is_typed_and_its_edges_are_not(precision: str, code: int) -> None:
    """Weights are half as large; inputs, outputs, normalisation and the means keep their types."""
    graph = _graph()

    half = lowered(graph, precision)

    onnx.checker.check_model(half, full_check=True)
    types = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    assert types[f"weight_{precision}"] == types[f"six_{precision}"] == code
    assert types["slope"] == types["shift"] == types["scales"] == TensorProto.FLOAT
    assert "weight" not in types
    # The zero is copied: labels are cut in float32.
    assert (types["zero"], types[f"zero_{precision}"]) == (TensorProto.FLOAT, code)
    assert list(half.graph.output) == list(graph.graph.output)
    assert [tensor.name for tensor in graph.graph.initializer if tensor.name == "weight"], "the original is untouched"


def test_an_fp16_graph_answers_nearly_as_its_fp32_graph() -> None:
    """Half a float has eleven bits: logits of about 1 differ by less than 0.01."""
    graph = _graph()

    found, expected = _answers(lowered(graph, "fp16")), _answers(graph)

    assert 0 < np.abs(found[0] - expected[0]).max() < 0.01
    assert (found[1] == expected[1]).mean() > 0.99


def test_a_bf16_graph_runs_in_openvino_and_is_refused_by_onnxruntime(tmp_path) -> None:
    """ONNX Runtime has no such convolution on a CPU; the refusal says what to do instead."""
    if reason := backend_reason("openvino"):
        pytest.skip(f"needs openvino: {reason}")
    graph = _graph()
    half = lowered(graph, "bf16")
    helper.set_model_props(half, {"precision": "bf16", "classes": '["a", "b"]', "subject": ""})
    onnx.save(half, tmp_path / "half.onnx")
    spec = resolve(tmp_path / "half.onnx")
    logits = np.zeros(spec.output_shape("logits"), np.float32)

    with open_engine(spec, backend="openvino", outputs=("logits",), precision_hint="f32") as engine:
        engine.infer({"image_bgr": _picture()}, {"logits": logits})

    # Eight bits: logits of about 1 differ by less than 0.1.
    assert 0 < np.abs(logits - _answers(graph)[0]).max() < 0.1
    assert spec.precision == "bf16"
    with (
        pytest.raises(BackendUnavailable, match="no bf16 convolution on a CPU; take backend openvino"),
        open_engine(spec, backend="onnxruntime"),
    ):
        pass


def test_a_weight_beyond_half_a_float_is_refused() -> None:
    """fp16 ends at 65504; bf16 reaches as far as float32."""
    with pytest.raises(ExportError, match="weight holds values beyond 65504; export this network in bf16"):
        lowered(_graph(largest_weight=70_000.0), "fp16")

    assert lowered(_graph(largest_weight=70_000.0), "bf16")
