"""What an ONNX file says of itself when no manifest lists it.

Input and outputs must follow the contract of `engines.spec`: one uint8 NHWC `image_bgr`, outputs
among `logits`, `alpha`, `labels`. Metadata (`metadata_props`) may add `name`, `classes` and `palette`
(JSON lists), `subject`, `resize`, `precision`; what is missing is deduced: classes are counted from
`logits`, the subject of a graph with `alpha` is its last class, the rule is letterbox.
"""

import colorsys
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.errors import BackendUnavailable, EngineMismatch
from engines.spec import INPUT_NAME, EngineSpec, InputSpec, Meaning, Palette, ResizeRule

__all__ = ["GraphFacts", "check_contract", "read_graph", "spec_from_graph"]

KNOWN_OUTPUTS = ("logits", "alpha", "labels")


@dataclass(frozen=True)
class GraphFacts:
    """Names, NumPy type names and shapes (None where a side is not fixed), and the metadata."""

    inputs: dict[str, tuple[str, tuple[int | None, ...]]]
    outputs: dict[str, tuple[str, tuple[int | None, ...]]]
    metadata: dict[str, str]


def read_graph(path: Path) -> GraphFacts:
    """Read an ONNX file with the first runtime that is installed and knows its operators.

    Raises:
        EngineMismatch: the file is not an ONNX graph.
        BackendUnavailable: neither ONNX Runtime nor OpenVINO is installed.
    """
    refusal: EngineMismatch | None = None
    try:
        return _read_with_onnxruntime(path)
    except BackendUnavailable:
        pass
    except EngineMismatch as error:
        refusal = error  # perhaps only of this runtime, which has no bf16 convolution on a CPU
    try:
        return _read_with_openvino(path)
    except EngineMismatch as error:
        raise refusal or error from None
    except BackendUnavailable as error:
        if refusal is not None:
            raise refusal from None
        raise BackendUnavailable(
            f"{path} has no manifest beside it and nothing is installed to read it; pip install onnxruntime"
        ) from error


def spec_from_graph(path: Path) -> EngineSpec:
    """The engine that an ONNX file without a manifest is; sha256 is left empty."""
    facts = read_graph(path)
    if list(facts.inputs) != [INPUT_NAME]:
        raise EngineMismatch(f"{path}: inputs {list(facts.inputs)}, expected one called {INPUT_NAME!r}")
    kind, shape = facts.inputs[INPUT_NAME]
    if kind != "uint8" or len(shape) != 4 or shape[3] != 3 or not shape[1] or not shape[2]:
        raise EngineMismatch(f"{path}: {INPUT_NAME} is {kind} {shape}, expected uint8 (1, height, width, 3)")
    names = tuple(name for name in KNOWN_OUTPUTS if name in facts.outputs)
    if not names:
        raise EngineMismatch(f"{path}: outputs {list(facts.outputs)}, expected some of {list(KNOWN_OUTPUTS)}")
    meaning = _meaning(path, facts)
    return EngineSpec(
        name=facts.metadata.get("name", path.stem),
        path=path,
        input=InputSpec(shape[1], shape[2], meaning.resize),
        output=meaning.output,
        palette=meaning.palette,
        precision=facts.metadata.get("precision", "fp32"),
        batch=shape[0] or 1,
        any_batch=shape[0] is None,
    )


def check_contract(spec: EngineSpec, facts: GraphFacts, wanted: tuple[str, ...]) -> None:
    """Raise EngineMismatch where the graph, as a backend sees it, is not what `spec` promises."""
    batch = None if spec.any_batch else spec.batch
    shape = (batch, *spec.input.shape()[1:])
    if facts.inputs != {INPUT_NAME: ("uint8", shape)}:
        raise EngineMismatch(f"{spec.path}: takes {facts.inputs}, the manifest promises {INPUT_NAME} uint8 {shape}")
    # Not only what is wanted: a wrong number of classes shows in the logits, and must not wait for the first frame.
    for name in dict.fromkeys((*wanted, *(name for name in facts.outputs if name in spec.output.names))):
        expected = (spec.output_dtype(name), (batch, *spec.output_shape(name)[1:]))
        found = facts.outputs.get(name)
        if found is None:
            raise EngineMismatch(f"{spec.path}: has no output {name!r} (it has {', '.join(facts.outputs)})")
        if found != expected:
            raise EngineMismatch(
                f"{spec.path}: output {name!r} is {found[0]} {found[1]}, "
                f"the manifest promises {expected[0]} {expected[1]}"
            )


def _meaning(path: Path, facts: GraphFacts) -> Meaning:
    listed = _json_list(path, facts.metadata, "classes")
    if listed is None:
        shape = facts.outputs.get("logits", ("", (None, None)))[1]
        n_classes = shape[1] or 2
        listed = ["background", *(f"class {index}" for index in range(1, n_classes))]
    classes = tuple(str(name) for name in listed)
    colours = _json_list(path, facts.metadata, "palette")
    palette = _spread(len(classes)) if colours is None else tuple((int(r), int(g), int(b)) for r, g, b in colours)
    last = classes[-1] if classes and "alpha" in facts.outputs else ""
    resize = _resize(path, facts.metadata.get("resize", "letterbox"))
    try:
        return Meaning(classes, palette, facts.metadata.get("subject", last) or None, resize)
    except ValueError as error:
        raise EngineMismatch(f"{path}: metadata: {error}") from None


def _spread(n_classes: int) -> Palette:
    """Black for the background, then colours far apart."""
    colours = [(0, 0, 0)]
    for index in range(1, n_classes):
        r, g, b = colorsys.hsv_to_rgb(index * 0.61803 % 1.0, 0.75, 0.95)
        colours.append((round(r * 255), round(g * 255), round(b * 255)))
    return tuple(colours)


def _json_list(path: Path, metadata: dict[str, str], key: str) -> list[Any] | None:
    if key not in metadata:
        return None
    try:
        value = json.loads(metadata[key])
    except ValueError as error:
        raise EngineMismatch(f"{path}: metadata {key!r} is not JSON ({error})") from error
    if not isinstance(value, list):
        raise EngineMismatch(f"{path}: metadata {key!r} holds a {type(value).__name__}, expected a list")
    return value


def _resize(path: Path, text: str) -> ResizeRule:
    try:
        return ResizeRule(text)
    except ValueError as error:
        raise EngineMismatch(f"{path}: metadata resize {text!r}, expected letterbox or stretch") from error


def _read_with_onnxruntime(path: Path) -> GraphFacts:
    from engines.runtime.onnxruntime_engine import load_session, session_facts

    return session_facts(load_session(path, n_threads=1, optimise=False))


def _read_with_openvino(path: Path) -> GraphFacts:
    from engines.runtime.openvino_engine import load_model, model_facts

    return model_facts(load_model(path))
