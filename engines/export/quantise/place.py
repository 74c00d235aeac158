"""Writes Q/DQ pairs before convolutions: one pair a tensor, weights stored as int8.

Only the inputs of a convolution are rounded; what lies between (ReLU, additions, resizing, pooling, and everything
around the network) stays in float, and each runtime fuses what it can. Zero points are 0: TensorRT takes no other.
"""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

__all__ = ["placed", "watched_tensors"]

FEWEST_CHANNELS = 64
"""Below that on either side a convolution moves so many bytes for its arithmetic that rounding costs what it saves."""
SMALLEST_SCALE = 1e-8
"""A channel or tensor of zeros still needs a scale that is not zero."""


def watched_tensors(graph: onnx.ModelProto) -> list[str]:
    """The inputs of the convolutions that become int8, each once."""
    return list(dict.fromkeys(node.input[0] for node in _worth_it(graph)))


def placed(graph: onnx.ModelProto, reach: Mapping[str, float]) -> onnx.ModelProto:
    """A copy of `graph` with Q/DQ pairs.

    Args:
        reach: for each of `watched_tensors`, the magnitude that 127 stands for.
    """
    out = onnx.ModelProto()
    out.CopyFrom(graph)
    chosen = {node.output[0] for node in _worth_it(graph)}
    weights = {tensor.name: tensor for tensor in out.graph.initializer}
    inserted: dict[str, list[onnx.NodeProto]] = {}
    rounded: set[str] = set()
    stored: set[str] = set()
    for node in out.graph.node:
        if node.output[0] not in chosen:
            continue
        x, weight = node.input[0], node.input[1]
        before = inserted.setdefault(node.output[0], [])
        if x not in rounded:
            rounded.add(x)
            scale = np.array(max(reach[x] / 127, SMALLEST_SCALE), np.float32)
            out.graph.initializer.append(numpy_helper.from_array(scale, f"{x}_scale"))
            out.graph.initializer.append(numpy_helper.from_array(np.array(0, np.int8), f"{x}_zero"))
            quantities = [f"{x}_scale", f"{x}_zero"]
            before.append(helper.make_node("QuantizeLinear", [x, *quantities], [f"{x}_int8"]))
            before.append(helper.make_node("DequantizeLinear", [f"{x}_int8", *quantities], [f"{x}_rounded"]))
        if weight not in stored:
            stored.add(weight)
            out.graph.initializer.extend(_int8_weight(weights[weight]))
            before.append(
                helper.make_node(
                    "DequantizeLinear",
                    [f"{weight}_int8", f"{weight}_scale", f"{weight}_zero"],
                    [f"{weight}_rounded"],
                    axis=0,
                )
            )
        node.input[0], node.input[1] = f"{x}_rounded", f"{weight}_rounded"
    nodes = [part for node in out.graph.node for part in (*inserted.get(node.output[0], ()), node)]
    ordered = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del out.graph.node[:]
    out.graph.node.extend(ordered)
    read = {name for node in ordered for name in node.input}
    for weight in stored - read:
        out.graph.initializer.remove(weights[weight])
    return out


def _worth_it(graph: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Wide convolutions with stored weights, but no depthwise ones, nor those that no other precedes or follows."""
    stored = {tensor.name: tensor for tensor in graph.graph.initializer}
    convolutions = [node for node in graph.graph.node if node.op_type == "Conv" and node.input[1] in stored]
    # Nodes stand in the order they run in: what a convolution has touched is known when its readers come.
    touched: set[str] = set()
    firsts: set[str] = set()
    for node in graph.graph.node:
        is_touched = any(name in touched for name in node.input)
        if node.op_type == "Conv" and not is_touched:
            firsts.add(node.output[0])
        if node.op_type == "Conv" or is_touched:
            touched.update(node.output)
    feeding: set[str] = set()
    lasts: set[str] = set()
    for node in reversed(graph.graph.node):
        is_feeding = any(name in feeding for name in node.output)
        if node.op_type == "Conv" and not is_feeding:
            lasts.add(node.output[0])
        if node.op_type == "Conv" or is_feeding:
            feeding.update(node.input)
    ends = firsts | lasts

    def is_narrow(node: onnx.NodeProto) -> bool:
        return bool(min(stored[node.input[1]].dims[:2]) < FEWEST_CHANNELS)

    def is_depthwise(node: onnx.NodeProto) -> bool:
        return next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1) > 1

    return [node for node in convolutions if not (is_depthwise(node) or is_narrow(node) or node.output[0] in ends)]


def _int8_weight(tensor: onnx.TensorProto) -> list[onnx.TensorProto]:
    """Values, scale and zero point by output channel."""
    weight = numpy_helper.to_array(tensor)
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    scale = np.maximum(largest / 127, SMALLEST_SCALE).astype(np.float32)
    steps = np.round(weight / scale.reshape(-1, *[1] * (weight.ndim - 1)))
    return [
        numpy_helper.from_array(np.clip(steps, -127, 127).astype(np.int8), f"{tensor.name}_int8"),
        numpy_helper.from_array(scale, f"{tensor.name}_scale"),
        numpy_helper.from_array(np.zeros(len(scale), np.int8), f"{tensor.name}_zero"),
    ]
