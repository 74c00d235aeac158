"""An fp32 graph becomes an fp16 or bf16 graph: typed weights, and Casts at the edges of the network.

Input, normalisation, the outputs and everything behind the logits stay as they are (uint8 in, float32 logits, the
sigmoid of alpha in float32), so whoever opens the file sees the same contract. Global means stay in float32 too: a
sum over thousands of pixels has more digits than half a float holds. The trap: operators share constants (the zero
of a ReLU6 is also the zero that labels are cut at), so a constant is copied for the network, not converted.

Who opens what, tried with OpenVINO 2026.4 and ONNX Runtime 1.31 on a CPU: fp16 both (ONNX Runtime calculates in
float32), bf16 OpenVINO only. bf16 needs opset 22, the first in which Conv knows the type.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engines.errors import ExportError
from engines.spec import INPUT_NAME

__all__ = ["HalfPrecision", "lowered"]

HalfPrecision = Literal["fp16", "bf16"]
CODES: dict[HalfPrecision, int] = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
BF16_OPSET = 22
BEFORE_THE_NETWORK = frozenset({"Cast", "Transpose", "Mul", "Sub", "Add", "Div"})
"""What normalisation is made of."""
STAYS_FLOAT = frozenset({"ReduceMean", "GlobalAveragePool", "ReduceSum"})
LARGEST_FP16 = float(np.finfo(np.float16).max)


def lowered(graph: onnx.ModelProto, precision: HalfPrecision) -> onnx.ModelProto:
    """A copy of a served fp32 graph whose network calculates in fp16 or bf16.

    Raises:
        ExportError: a weight is too large for fp16.
    """
    out = onnx.ModelProto()
    out.CopyFrom(graph)
    network = _Network(out, precision)
    nodes = [written for node in out.graph.node for written in network.rewritten(node)]
    _replace_nodes(out, nodes)
    if precision == "bf16":
        for opset in out.opset_import:
            if opset.domain == "":
                opset.version = max(opset.version, BF16_OPSET)
    return out


class _Network:
    """The part of a graph between normalisation and logits, and the half-precision names of its tensors."""

    def __init__(self, graph: onnx.ModelProto, precision: HalfPrecision) -> None:
        nodes = list(graph.graph.node)
        self.graph = graph
        self.precision = precision
        self.code = CODES[precision]
        self.entry = _entry(nodes)
        inside = _between(nodes, self.entry)
        self.inside = {node.output[0] for node in inside}
        self.made = {self.entry, *(name for node in inside for name in node.output)}
        self.constants = {tensor.name: tensor for tensor in graph.graph.initializer}
        self.copied: set[str] = set()
        outside = [node for node in nodes if node.output[0] not in self.inside]
        self.read_outside = {name for node in outside for name in node.input}
        self.read_outside |= {value.name for value in graph.graph.output}

    def rewritten(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """What stands in the new graph instead of a node."""
        if node.output[0] not in self.inside:
            yield node
            if self.entry in node.output:
                yield self._cast(self.entry, self._typed(self.entry))
            return
        if node.op_type in STAYS_FLOAT:
            yield from self._in_float(node)
        else:
            yield self._in_half(node)
        for name in node.output:
            if name in self.read_outside:
                yield helper.make_node("Cast", [self._typed(name)], [name], to=TensorProto.FLOAT)

    def _in_half(self, node: onnx.NodeProto) -> onnx.NodeProto:
        half: onnx.NodeProto = onnx.NodeProto.FromString(node.SerializeToString())
        for place, name in enumerate(node.input):
            # Resize takes its region and its scales as float32, whatever it resizes.
            if name and not (node.op_type == "Resize" and place > 0):
                half.input[place] = self._typed(name)
        for place, name in enumerate(node.output):
            half.output[place] = self._typed(name)
        for attribute in half.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = self.code
        return half

    def _in_float(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        x, y = node.input[0], node.output[0]
        yield helper.make_node("Cast", [self._typed(x)], [f"{y}_wide_in"], to=TensorProto.FLOAT)
        wide = onnx.NodeProto.FromString(node.SerializeToString())
        wide.input[0], wide.output[0] = f"{y}_wide_in", f"{y}_wide"
        yield wide
        yield self._cast(f"{y}_wide", self._typed(y))

    def _typed(self, name: str) -> str:
        """The name that a node inside reads or writes instead of `name`."""
        typed = f"{name}_{self.precision}"
        if name in self.made or name in self.copied:
            return typed
        tensor = self.constants.get(name)
        if tensor is None or tensor.data_type != TensorProto.FLOAT:
            return name
        value = numpy_helper.to_array(tensor)
        if self.precision == "fp16" and np.abs(value[np.isfinite(value)]).max(initial=0.0) > LARGEST_FP16:
            raise ExportError(f"fp16: {name} holds values beyond {LARGEST_FP16:.0f}; export this network in bf16")
        self.copied.add(name)
        stored = helper.make_tensor(typed, self.code, value.shape, _half_bytes(value, self.precision), raw=True)
        self.graph.graph.initializer.append(stored)
        return typed

    def _cast(self, x: str, y: str) -> onnx.NodeProto:
        return helper.make_node("Cast", [x], [y], to=self.code)


def _half_bytes(value: NDArray[np.float32], precision: HalfPrecision) -> bytes:
    if precision == "fp16":
        return value.astype("<f2").tobytes()
    # bf16 is the upper half of a float32; to the nearest, ties to even.
    bits = np.ascontiguousarray(value, "<f4").view("<u4").astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").tobytes()


def _entry(nodes: list[onnx.NodeProto]) -> str:
    """The tensor that normalisation gives and the network takes."""
    name = INPUT_NAME
    while True:
        readers = [node for node in nodes if name in node.input]
        if len(readers) != 1 or readers[0].op_type not in BEFORE_THE_NETWORK:
            return name
        name = readers[0].output[0]


def _between(nodes: list[onnx.NodeProto], entry: str) -> list[onnx.NodeProto]:
    """The nodes that lead from `entry` to the logits."""
    after, before = {entry}, {"logits"}
    for node in nodes:
        if any(name in after for name in node.input):
            after.update(node.output)
    for node in reversed(nodes):
        if any(name in before for name in node.output):
            before.update(node.input)
    return [
        node
        for node in nodes
        if entry not in node.output and any(name in after and name in before for name in node.output)
    ]


def _replace_nodes(graph: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    """Put nodes in, and drop the constants that nobody reads any more."""
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.graph.node[:]
    graph.graph.node.extend(kept)
    read = {name for node in kept for name in node.input}
    for tensor in [tensor for tensor in graph.graph.initializer if tensor.name not in read]:
        graph.graph.initializer.remove(tensor)
