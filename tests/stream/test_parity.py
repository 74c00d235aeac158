"""A labelled set through the real corridor: nothing is lost on the way, and what goes wrong has a name."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.data.datasets import DatasetOptions
from pipeline.parity.measure import measure
from pipeline.parity.verdict import gaps, problems, report, table
from tests.conftest import ROOT
from tests.engines.runtime.graphs import write_engine
from tests.pipeline.effects.scenes import busy_image

SIZES = ((90, 62), (90, 62), (75, 101), (90, 62), (75, 101))
"""Width and height of the pictures; one side is odd, which H.264 cannot have."""

CHANNELS = ("blue", "green", "red")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny graph: a pixel is of the subject where its blue is above 128."""
    return write_engine(tmp_path_factory.mktemp("engine"), sizes=((96, 64),))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DatasetOptions:
    """Busy pictures of two sizes with their blue parts as masks."""
    root = tmp_path_factory.mktemp("data")
    _write(root, lambda image: (image[..., 0] > 128).astype(np.uint8))
    return DatasetOptions(path=root)


@pytest.mark.slow
def test_a_lossless_stream_is_the_evaluation(engine: Path, data: DatasetOptions) -> None:
    """Every tensor arrives bit by bit, and both rules give the figures of the graph in one process."""
    measured = measure(str(engine), data)

    assert list(measured.rows)[:3] == ["onnx", "lossless", "h264"]
    lossless = measured.rows["lossless"]
    assert (lossless.n_equal, lossless.n_tensors) == (len(SIZES), len(SIZES))
    assert [gap.points for gap in gaps(measured)] == pytest.approx([0, 0], abs=1e-9)
    assert not problems(measured)
    # Coded, nothing is equal bit by bit, and that is no fault.
    assert measured.rows["h264"].n_equal == 0
    assert measured.rows["h264"].p2.n_images == len(SIZES)
    told = report(measured)
    assert json.loads(json.dumps(told))["rows"][0]["miou_p2"] > 50
    assert "parity holds" in table(measured)


@pytest.mark.parametrize("fault", ["bgr-swap", "limited-range", "half-pixel"])
def test_a_seeded_fault_is_caught_by_its_name(fault: str, engine: Path, data: DatasetOptions) -> None:
    """The instrument itself is tried: whoever breaks preprocess so will be told what he did."""
    measured = measure(str(engine), data, seed_fault=fault, limit=2)

    found = problems(measured)
    assert found[0].fault == fault
    assert "2 of 2 tensors" in found[0].told
    assert "h264" not in measured.rows


@pytest.mark.slow
def test_many_classes_by_both_rules(tmp_path: Path) -> None:
    """Without a subject the stream has labels alone: P2 goes by its logits, what is shown by its label map."""
    path = _channel_graph(tmp_path / "channels.onnx", 96, 64)
    _write(tmp_path, lambda image: image.argmax(axis=2).astype(np.uint8))

    measured = measure(str(path), DatasetOptions(path=tmp_path), limit=2)

    rows = measured.rows
    assert not problems(measured)
    assert rows["lossless"].n_equal == 2
    for rule in ("p2", "shown"):
        one, other = (getattr(rows[name], rule).confusion for name in ("onnx", "lossless"))
        np.testing.assert_array_equal(one, other)
    assert rows["onnx"].p2.confusion.any(axis=0).all()


def test_the_command_ends_with_1_and_writes_its_figures(engine: Path, data: DatasetOptions, tmp_path: Path) -> None:
    """A script can rely on the exit code, a person on the last lines."""
    command = [sys.executable, str(ROOT / "run_stream.py"), "parity", str(engine), "--data", str(data.path)]
    options = ["--limit", "1", "--seed-fault", "bgr-swap", "--json", str(tmp_path / "parity.json")]

    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)

    assert done.returncode == 1, done.stderr
    assert "bgr-swap: red and blue are exchanged" in done.stdout
    figures = json.loads((tmp_path / "parity.json").read_text())
    assert figures["seeded_fault"] == figures["problems"][0]["fault"] == "bgr-swap"
    assert [row["name"] for row in figures["rows"]] == ["onnx", "lossless"]


def _write(root: Path, labels_of: object) -> None:
    assert callable(labels_of)
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    for number, (width, height) in enumerate(SIZES):
        image = busy_image(width, height, seed=number)
        cv2.imwrite(str(root / "images" / f"p{number}.png"), image)
        cv2.imwrite(str(root / "masks" / f"p{number}.png"), labels_of(image))


def _channel_graph(path: Path, width: int, height: int) -> Path:
    """Three classes, blue, green and red: each pixel is of its strongest channel; no subject."""
    sizes = numpy_helper.from_array(np.array([1, 3, height, width], np.int64), "sizes")
    nodes = [
        helper.make_node("Cast", ["image_bgr"], ["image"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["logits"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Resize", ["logits", "", "", "sizes"], ["full"], mode="linear"),
        helper.make_node("ArgMax", ["full"], ["indices"], axis=1, keepdims=0),
        helper.make_node("Cast", ["indices"], ["labels"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "channels",
        [helper.make_tensor_value_info("image_bgr", TensorProto.UINT8, [1, height, width, 3])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3, height // 4, width // 4]),
            helper.make_tensor_value_info("labels", TensorProto.UINT8, [1, height, width]),
        ],
        [sizes],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {"classes": json.dumps(CHANNELS)})
    onnx.save(model, str(path))
    return path
