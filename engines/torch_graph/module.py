"""An ONNX graph becomes a module of torch: what a stream has of an engine is its graph, not its checkpoint.

The module is a `torch.fx.GraphModule`: plain calls in a row, so `torch.compile` takes it, and a tensor is let go after
its last use. Whatever depends on weights alone is calculated once, while it is built. The trap: metadata, names and
types are those of the graph as it was written; a half-precision copy is made of it before (`engines.export.lower`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, fx

from engines.errors import EngineMismatch, ExportError
from engines.runtime.graph_facts import GraphFacts
from engines.spec import INPUT_NAME
from engines.torch_graph.operators import DTYPES, RULES, NotServed, Operands

__all__ = ["Arithmetic", "graph_facts", "load_graph", "module_of"]

Arithmetic = Literal["fp32", "fp16", "bf16"]


def load_graph(path: Path) -> onnx.ModelProto:
    """Read an ONNX file.

    Raises:
        EngineMismatch: the file is not an ONNX graph.
    """
    try:
        return onnx.load(path)
    except Exception as error:  # protobuf has an error of its own in each of its implementations
        raise EngineMismatch(f"{path}: not an ONNX graph that can be read ({_line(error)})") from error


def graph_facts(graph: onnx.ModelProto) -> GraphFacts:
    """Names, types, shapes and metadata of a graph."""
    return GraphFacts(
        inputs={value.name: _plane(value) for value in graph.graph.input},
        outputs={value.name: _plane(value) for value in graph.graph.output},
        metadata={entry.key: entry.value for entry in graph.metadata_props},
    )


def module_of(graph: onnx.ModelProto, outputs: Sequence[str], arithmetic: Arithmetic, path: Path) -> fx.GraphModule:
    """A module from `image_bgr` to a tuple of these outputs, on the CPU; convolutions are laid out channels last.

    Args:
        graph: with `image_bgr` as its one input.
        outputs: what is to be calculated, and no more.
        arithmetic: of the network between normalisation and logits, for a graph in fp32; others keep their own.
        path: for messages.

    Raises:
        EngineMismatch: an operator that has no rule, or numbers too large for fp16.
    """
    from engines.export.open_batch import fix_sides

    fix_sides(graph)
    if arithmetic != "fp32":
        from engines.export.lower import lowered

        try:
            graph = lowered(graph, arithmetic)
        except ExportError as error:
            raise EngineMismatch(f"{path}: {error}") from error
    return _Builder(graph, path).built(outputs)


class _Builder:
    """Names of the graph to tensors that are known, or to nodes that will be."""

    def __init__(self, graph: onnx.ModelProto, path: Path) -> None:
        self._onnx = graph.graph
        self._opset = next((one.version for one in graph.opset_import if one.domain in {"", "ai.onnx"}), 1)
        self._path = path
        self._known: dict[str, Tensor | fx.Node | None] = {"": None}
        self._held = torch.nn.Module()
        self._calls = fx.Graph()
        self._n_held = 0

    @torch.no_grad()
    def built(self, outputs: Sequence[str]) -> fx.GraphModule:
        """All nodes in a row; those that lead to no output are taken out."""
        for tensor in self._onnx.initializer:
            self._known[tensor.name] = _tensor(tensor)
        self._known[INPUT_NAME] = self._calls.placeholder(INPUT_NAME)
        for node in self._onnx.node:
            self._add(node)
        self._calls.output(tuple(self._operand(self._known[name]) for name in outputs))
        self._calls.eliminate_dead_code()
        module = fx.GraphModule(self._held, self._calls)
        read = {node.target for node in self._calls.nodes if node.op == "get_attr"}
        for name in [name for name, _ in module.named_buffers() if name not in read]:
            delattr(module, name)
        return module.eval()

    def _add(self, node: onnx.NodeProto) -> None:
        attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        if node.op_type == "Constant":
            self._known[node.output[0]] = _tensor(attributes["value"]) if "value" in attributes else None
            return
        rule = RULES.get(node.op_type)
        try:
            if rule is None or node.domain not in {"", "ai.onnx"} or len([name for name in node.output if name]) != 1:
                raise NotServed("there is no rule for it")
            call = rule(Operands([self._known[name] for name in node.input], attributes, self._opset))
            if any(isinstance(one, fx.Node) for one in _flat(call.arguments)):
                arguments = tuple(self._operand(one) for one in call.arguments)
                made: Any = self._calls.call_function(call.function, arguments)
            else:
                made = call.function(*call.arguments)
        except (NotServed, KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
            name = node.name or node.output[0]
            raise EngineMismatch(
                f"{self._path}: torch does not run operator {node.op_type} of node {name!r} ({_line(error)}); take "
                "backend onnxruntime or openvino"
            ) from None
        self._known[node.output[0]] = made

    def _operand(self, value: Any) -> Any:
        """As it stands in the row of calls: a tensor becomes a buffer of the module."""
        if isinstance(value, list) and any(isinstance(one, Tensor | fx.Node) for one in value):
            return [self._operand(one) for one in value]
        if not isinstance(value, Tensor):
            return value
        name = f"held_{self._n_held}"
        self._n_held += 1
        if value.ndim == 4:
            value = value.contiguous(memory_format=torch.channels_last)
        self._held.register_buffer(name, value)
        return self._calls.get_attr(name)


def _flat(arguments: Sequence[Any]) -> list[Any]:
    return [one for argument in arguments for one in (argument if isinstance(argument, list) else [argument])]


def _tensor(tensor: onnx.TensorProto) -> Tensor:
    dtype = DTYPES.get(tensor.data_type)
    if dtype is torch.bfloat16:
        bits = torch.frombuffer(bytearray(tensor.raw_data), dtype=torch.int16)
        return bits.view(torch.bfloat16).reshape(list(tensor.dims))
    return torch.from_numpy(numpy_helper.to_array(tensor).copy())


def _plane(value: onnx.ValueInfoProto) -> tuple[str, tuple[int | None, ...]]:
    kind = value.type.tensor_type
    sides = tuple(side.dim_value if side.HasField("dim_value") else None for side in kind.shape.dim)
    dtype = DTYPES.get(kind.elem_type)
    return (str(dtype).removeprefix("torch.") if dtype is not None else f"type {kind.elem_type}"), sides


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
