"""From an ONNX file to a TensorRT network: strongly typed, checked against what the engine promises.

The trap: the network keeps pointers into its builder, logger and parser, so `Parsed` holds all of them, and they must
go together.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines.errors import BackendUnavailable, BuildError, EngineMismatch
from engines.plans.key import PlanOptions
from engines.plans.library import Library, dtype_name
from engines.runtime.graph_facts import GraphFacts, check_contract
from engines.spec import INPUT_NAME, EngineSpec

__all__ = ["Log", "Parsed", "check_promise", "config_of", "is_dynamic", "layer_lines", "make_log", "parse", "started"]

MAX_ERRORS_TOLD = 5


class Log:
    """What a library said: errors and warnings as lines, and the figures of its memory report."""

    _OLD_DRIVER = re.compile(r"error[ :]+35\b|driver version is insufficient", re.IGNORECASE)
    _FIGURE = re.compile(r"Total (Activation|Weights) Memory: (\d+) bytes")

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self.memory: dict[str, int] = {}
        """`Activation` and `Weights`, in bytes."""

    def take(self, severity: str, text: str) -> None:
        """One message; `severity` is the name of TensorRT's own."""
        if severity in {"INTERNAL_ERROR", "ERROR"}:
            self.errors.append(text)
        elif severity == "WARNING":
            self.warnings.append(text)
        elif found := self._FIGURE.search(text):
            self.memory[found[1]] = int(found[2])

    @property
    def last_error(self) -> str:
        """In one line, for the end of a message."""
        return " ".join(self.said[-1].split())[:400] if self.said else "it gave no reason"

    @property
    def said(self) -> list[str]:
        """The errors, else the warnings: how CUDA failed to start may be told as either."""
        return self.errors or self.warnings

    @property
    def is_driver_too_old(self) -> bool:
        """Whether any line has the number or the text of cudaErrorInsufficientDriver."""
        return any(self._OLD_DRIVER.search(text) for text in (*self.errors, *self.warnings))


def make_log(library: Library) -> tuple[Any, Log]:
    """A `trt.ILogger` and what it writes to. Keep the logger as long as anything that was made with it."""
    log = Log()

    class Logger(library.trt.ILogger):  # type: ignore[misc, name-defined]  # a class of a module without types
        def __init__(self) -> None:
            library.trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            log.take(str(severity).rpartition(".")[2], msg)

    return Logger(), log


def started(library: Library, kind: str, logger: Any, log: Log) -> Any:
    """`trt.Runtime(logger)` or `trt.Builder(logger)`; their bindings raise a bare TypeError when CUDA cannot start.

    Raises:
        BackendUnavailable: with what was logged, and what helps.
    """
    try:
        return getattr(library.trt, kind)(logger)
    except TypeError as error:
        mend = (
            "the NVIDIA driver is too old for it; install a newer driver"
            if log.is_driver_too_old
            else "see whether nvidia-smi shows the GPU, and CUDA_VISIBLE_DEVICES does not hide it"
        )
        raise BackendUnavailable(
            f"{library.label} cannot start on this GPU ({log.last_error if log.said else error}): {mend}, or run with "
            "--backend auto"
        ) from error


@dataclass
class Parsed:
    """A network and all that must live as long as it."""

    library: Library
    builder: Any
    network: Any
    parser: Any
    logger: Any
    log: Log = field(default_factory=Log)

    @property
    def facts(self) -> GraphFacts:
        """Names, types and shapes as TensorRT sees them; None where a side is dynamic."""
        network = self.network
        inputs = [network.get_input(index) for index in range(network.num_inputs)]
        outputs = [network.get_output(index) for index in range(network.num_outputs)]
        return GraphFacts(
            {tensor.name: _plane(tensor) for tensor in inputs}, {tensor.name: _plane(tensor) for tensor in outputs}, {}
        )


def parse(library: Library, spec: EngineSpec) -> Parsed:
    """Read the graph and check that it takes and gives what `spec` says.

    Raises:
        BackendUnavailable: TensorRT cannot start here.
        BuildError: TensorRT does not know an operator, or refuses a node; the nodes are named.
        EngineMismatch: it is not the graph that its manifest describes.
    """
    trt = library.trt
    logger, log = make_log(library)
    builder = started(library, "Builder", logger, log)
    flags = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)  # 11 has no other kind of network
    network = builder.create_network(0 if flags is None else 1 << int(flags))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(spec.path)):
        raise BuildError(_refusal(library, spec.path, parser, log))
    parsed = Parsed(library, builder, network, parser, logger, log)
    check_promise(spec, parsed.facts)
    return parsed


def is_dynamic(parsed: Parsed) -> bool:
    """Whether the batch axis is open."""
    return parsed.facts.inputs[INPUT_NAME][1][0] is None


def config_of(parsed: Parsed, spec: EngineSpec, options: PlanOptions) -> Any:
    """The builder's configuration for these options.

    Raises:
        EngineMismatch: batches were named for a graph with a fixed batch, or not named for one without.
    """
    trt = parsed.library.trt
    config = parsed.builder.create_builder_config()
    config.builder_optimization_level = options.opt_level
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # else `inspect` sees no layers
    if options.tf32:
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)
    batches = options.batches
    if (batches is not None) != is_dynamic(parsed):
        raise EngineMismatch(
            f"{spec.path} has a fixed batch of {spec.batch}; leave --batches out"
            if batches is not None
            else f"{spec.path} takes any batch; say which with --batches SMALLEST:USUAL:LARGEST"
        )
    if batches is not None:
        profile = parsed.builder.create_optimization_profile()
        shapes = (spec.input.shape(batch) for batch in (batches.smallest, batches.usual, batches.largest))
        profile.set_shape(INPUT_NAME, *shapes)
        config.add_optimization_profile(profile)
    return config


def layer_lines(network: Any) -> tuple[tuple[str, ...], dict[str, int]]:
    """One line a layer (kind, precision, shape, name), and how many layers there are of each precision."""
    lines, precisions = [], dict[str, int]()
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        tensor = layer.get_output(0) if layer.num_outputs else None
        dtype, shape = ("", ()) if tensor is None else _plane(tensor)
        kind = str(layer.type).rpartition(".")[2].lower()
        sides = "x".join("?" if side is None else str(side) for side in shape)
        lines.append(f"{kind} {dtype} {sides} {layer.name}")
        if dtype and kind != "constant":
            precisions[dtype] = precisions.get(dtype, 0) + 1
    return tuple(lines), precisions


def check_promise(spec: EngineSpec, facts: GraphFacts) -> None:
    """`check_contract` for every output: a plan computes all of them."""
    check_contract(spec, facts, spec.output.names)


def _plane(tensor: Any) -> tuple[str, tuple[int | None, ...]]:
    try:
        sides = tuple(int(side) for side in tensor.shape)
    except ValueError:  # a rank that is known at run time only has a negative length
        sides = ()
    return dtype_name(tensor.dtype), tuple(None if side < 0 else side for side in sides)


def _refusal(library: Library, path: Path, parser: Any, log: Log) -> str:
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    if not errors:
        return f"{path}: {library.label} cannot read it ({log.last_error}); export it again"
    told = []
    for error in errors[:MAX_ERRORS_TOLD]:
        node = error.node_name() or f"node {error.node()}"
        told.append(f"{node} ({error.node_operator() or 'no operator'}): {' '.join(error.desc().split())[:200]}")
    more = f"; and {len(errors) - len(told)} more" if len(errors) > len(told) else ""
    return (
        f"{path}: {library.label} refuses it at {'; '.join(told)}{more}; export a graph without these operators, or "
        "run it with --backend openvino or onnxruntime"
    )
