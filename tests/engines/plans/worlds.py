"""What tests of plans share: a library that is only a version, a GPU that is only a name, and tiny graphs."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
from onnx import TensorProto, helper

from engines.names import resolve
from engines.plans.gpu import Gpu
from engines.plans.key import PlanKey, PlanOptions, Target, key_of
from engines.plans.library import LIBRARIES, Library
from engines.spec import EngineSpec
from tests.engines.runtime.graphs import write_engine

ADA = Gpu("NVIDIA GeForce RTX 4070", "8.9", "13.0", 12 << 30)
AMPERE = Gpu("NVIDIA GeForce RTX 3060", "8.6", "13.0", 12 << 30)
TURING = Gpu("NVIDIA GeForce RTX 2080 Ti", "7.5", "13.0", 11 << 30)


def named_library(module: str = "tensorrt", version: str = "10.16.1.11", trt: Any = None) -> Library:
    """A library without functions, unless `trt` brings them."""
    return Library(LIBRARIES[module], trt or SimpleNamespace(__version__=version))


def tiny_spec(folder: Path) -> EngineSpec:
    """A graph of 64x32 that exists, with its manifest."""
    return resolve(write_engine(folder))


def key(spec: EngineSpec, library: Library | None = None, gpu: Gpu | None = ADA, **options: Any) -> PlanKey:
    """Of a plan for that GPU."""
    library = library or named_library()
    return key_of(spec, library, Target.of(library, gpu), PlanOptions(**options))


def dynamic_graph(source: Path, path: Path) -> Path:
    """The same graph with an open batch axis, and no manifest beside it."""
    model = onnx.load(source)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    path.parent.mkdir(exist_ok=True)
    onnx.save(model, path)
    return path


def graph_with_unknown_operator(path: Path) -> Path:
    """A graph that follows the contract, with a node `strange` that no runtime knows."""
    size = [1, 32, 64]
    nodes = [
        helper.make_node("Cast", ["image_bgr"], ["image"], to=TensorProto.FLOAT, name="to_float"),
        helper.make_node("Fancify", ["image"], ["fancy"], name="strange", domain="nowhere"),
        helper.make_node("ReduceMax", ["fancy"], ["grey"], keepdims=0, axes=[3], name="brightest"),
        helper.make_node("Cast", ["grey"], ["labels"], to=TensorProto.UINT8, name="to_labels"),
    ]
    graph = helper.make_graph(
        nodes,
        "strange",
        [helper.make_tensor_value_info("image_bgr", TensorProto.UINT8, [*size, 3])],
        [helper.make_tensor_value_info("labels", TensorProto.UINT8, size)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("nowhere", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def spec_of_file(like: EngineSpec, path: Path) -> EngineSpec:
    """As if a manifest listed that file."""
    return replace(like, path=path)
