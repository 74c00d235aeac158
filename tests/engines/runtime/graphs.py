"""Tiny ONNX graphs that follow the contract of `engines.spec`, so that backends can be tried without a network.

The answer can be calculated by hand: the logit of the subject is (blue - 128) / 8 of each fourth pixel, so a
pixel is of the subject exactly where its blue is above 128.
"""

import json
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engines.manifest import sha256_of

CLASSES = ("background", "person")
PALETTE = ((0, 0, 0), (220, 20, 60))


def write_graph(path: Path, width: int, height: int, metadata: dict[str, str] | None = None) -> Path:
    """(1, height, width, 3) uint8 `image_bgr` to `logits`, `alpha` and `labels`."""
    constants = {
        "channel_0": np.array([0], np.int64),
        "zero": np.array([0, 0], np.int64),
        "end": np.array([height, width], np.int64),
        "spatial": np.array([1, 2], np.int64),
        "stride": np.array([4, 4], np.int64),
        "middle": np.array(128, np.float32),
        "slope": np.array(1 / 8, np.float32),
        "axis_1": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["image_bgr"], ["image"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["image", "channel_0"], ["blue_4d"], axis=3),
        helper.make_node("Squeeze", ["blue_4d", "channel_3_axis"], ["blue"]),
        helper.make_node("Sub", ["blue", "middle"], ["centred"]),
        helper.make_node("Mul", ["centred", "slope"], ["margin"]),
        helper.make_node("Slice", ["margin", "zero", "end", "spatial", "stride"], ["small"]),
        helper.make_node("Unsqueeze", ["small", "axis_1"], ["subject"]),
        helper.make_node("Neg", ["subject"], ["background"]),
        helper.make_node("Concat", ["background", "subject"], ["logits"], axis=1),
        helper.make_node("Greater", ["blue", "middle"], ["is_subject"]),
        helper.make_node("Cast", ["is_subject"], ["one"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["one", "full"], ["alpha_float"]),
        helper.make_node("Cast", ["alpha_float"], ["alpha"], to=TensorProto.UINT8),
        helper.make_node("Cast", ["is_subject"], ["labels"], to=TensorProto.UINT8),
    ]
    constants["channel_3_axis"] = np.array([3], np.int64)
    constants["full"] = np.array(255, np.float32)
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image_bgr", TensorProto.UINT8, [1, height, width, 3])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2, height // 4, width // 4]),
            helper.make_tensor_value_info("alpha", TensorProto.UINT8, [1, height, width]),
            helper.make_tensor_value_info("labels", TensorProto.UINT8, [1, height, width]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, metadata or {})
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path


def write_engine(folder: Path, name: str = "tiny", sizes: tuple[tuple[int, int], ...] = ((64, 32),)) -> Path:
    """Graphs and their manifest in `folder`; returns the manifest's path."""
    graphs = []
    for width, height in sizes:
        file = write_graph(folder / f"{name}-{width}x{height}-fp32.onnx", width, height)
        graphs.append({"file": file.name, "width": width, "height": height, "sha256": sha256_of(file)})
    manifest = {"name": name, "classes": CLASSES, "palette": PALETTE, "subject": "person", "graphs": graphs}
    path = folder / f"{name}.json"
    path.write_text(json.dumps(manifest), encoding="utf-8")
    return path


def analytic_alpha(image_bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What `alpha` must be for (1, height, width, 3)."""
    return np.where(image_bgr[..., 0] > 128, np.uint8(255), np.uint8(0))


def analytic_logits(image_bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What `logits` must be for (1, height, width, 3)."""
    subject = (image_bgr[:, ::4, ::4, 0].astype(np.float32) - 128) / 8
    return np.stack([-subject, subject], axis=1)
