"""What is in a plan: layers, precisions, memory, inputs and outputs, and where that is known from.

On the GPU it was built for, TensorRT's own inspector tells of the layers that will run, after fusion. Anywhere else a
plan cannot be opened, and the manifest tells of the layers that went into it. The trap: the lists do not look alike.
"""

import json
from typing import Any

from engines.errors import EngineError
from engines.plans.cache import Plan
from engines.plans.gpu import gpu_here
from engines.plans.key import Plane
from engines.plans.library import Library, find_library
from engines.plans.network import make_log, started

__all__ = ["inspected_layers", "plan_lines"]


def plan_lines(plan: Plan) -> list[str]:
    """The plan for people; its bytes are checked first.

    Raises:
        EngineMismatch: the plan is missing, truncated or changed.
    """
    manifest, key = plan.manifest, plan.manifest.key
    data = plan.load()
    target, options = key.target, key.options
    lines = [
        f"{manifest.engine}: {plan.path}",
        f"  for {target.gpu_name} GPU, compute capability {target.compute_capability}, {target.platform}",
        f"  by {key.runtime} {key.runtime_version}, level {options.opt_level}, TF32 {'on' if options.tf32 else 'off'}",
        f"  graph sha256 {key.onnx_sha256[:12]}…, plan sha256 {manifest.plan_sha256[:12]}…, as it was written",
    ]
    batches = options.batches
    if batches is not None:
        lines.append(f"  batches {batches.smallest} to {batches.largest}, tuned for {batches.usual}")
    lines += [f"  input  {plane.label}" for plane in key.inputs]
    lines += [f"  output {plane.label}" for plane in key.outputs]
    facts = manifest.facts
    lines.append(
        f"  memory: plan {_mb(manifest.plan_bytes)}, weights {_mb(facts.weights_bytes)}, between layers "
        f"{_mb(facts.activation_bytes)}, inputs and outputs {_mb(_io_bytes(plan))}"
    )
    lines.append(f"  built in {facts.seconds:.1f} s on {facts.built_on}")
    try:
        layers, source = inspected_layers(find_library(key.runtime), data), "as TensorRT's inspector sees them"
    except EngineError as error:
        layers = list(facts.layers)
        source = f"of the graph before fusion, from the manifest; no inspector here ({error})"
    counts = ", ".join(f"{n} {precision}" for precision, n in sorted(facts.precisions.items()))
    lines.append(f"  precisions in the graph: {counts}")
    lines.append(f"  {len(layers)} layers, {source}:")
    return [*lines, *(f"    {layer}" for layer in layers)]


def inspected_layers(library: Library, data: bytes) -> list[str]:
    """The layers that will run, one a line; `data` is a plan that was checked.

    Raises:
        EngineError: it cannot be opened here.
    """
    gpu, reason = gpu_here()
    if gpu is None:
        raise EngineError(reason)
    logger, log = make_log(library)
    runtime = started(library, "Runtime", logger, log)
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise EngineError(log.last_error)
    text = engine.create_engine_inspector().get_engine_information(library.trt.LayerInformationFormat.JSON)
    return [_layer_line(layer) for layer in json.loads(text).get("Layers", [])]


def _layer_line(layer: Any) -> str:
    """`kgen float 1x2x72x128 name`; a plan without details has bare names."""
    if not isinstance(layer, dict):
        return str(layer)
    outputs = layer.get("Outputs") or [{}]
    # TensorRT 10 says "Format/Datatype" in one, 11 has them apart.
    dtype = outputs[0].get("Datatype") or outputs[0].get("DataType") or outputs[0].get("Format/Datatype", "")
    sides = "x".join(str(side) for side in outputs[0].get("Dimensions", ()))
    return " ".join(word for word in (layer.get("LayerType", ""), dtype, sides, layer.get("Name", "")) if word)


def _io_bytes(plan: Plan) -> int:
    key = plan.manifest.key
    largest = 1 if key.options.batches is None else key.options.batches.largest
    return sum(_bytes(plane, largest) for plane in (*key.inputs, *key.outputs))


def _bytes(plane: Plane, largest: int) -> int:
    size = {"float32": 4, "float16": 2, "uint8": 1}[plane.dtype]
    for side in plane.shape:
        size *= largest if side < 0 else side
    return size


def _mb(n_bytes: int | None) -> str:
    return "unknown" if n_bytes is None else f"{n_bytes / 1e6:.1f} MB"
