"""When a plan may be used: the key, all of which must be as it is here and now.

A plan's name in the cache is the digest of its key, so another GPU, version or graph simply finds nothing. The trap:
what is left out of the key is what a plan is silently wrong about; what a build takes from its surroundings goes in.
"""

import hashlib
import json
import platform
import re
import shlex
import sys
from typing import Final

from pydantic import Field, model_validator

from configs import Options
from engines.errors import BackendUnavailable, EngineError, EngineMismatch
from engines.names import resolve
from engines.plans.gpu import Gpu
from engines.plans.library import LIBRARIES, Library
from engines.plans.weights import graph_sha256
from engines.spec import INPUT_NAME, EngineSpec

__all__ = [
    "ANY_GPU",
    "PORTABLE",
    "Batches",
    "PlanKey",
    "PlanOptions",
    "Plane",
    "Target",
    "build_command",
    "differences",
    "key_of",
    "source_of",
]

PORTABLE: Final = "8.0+"
"""Of a `tensorrt_rtx` plan unless told: the library's portable set, RTX cards from Ampere on. NVIDIA's support matrix
of TensorRT-RTX 1.5 lists 8.6, 8.9 and 12.0 for it, and 7.5 beside it; 9.0 has not been tried."""

ANY_GPU: Final = "any"
"""Name of the GPU of such a plan."""


class Batches(Options):
    """The optimisation profile of a graph with a dynamic batch axis: which batches it takes, and is tuned for."""

    smallest: int = Field(1, ge=1)
    usual: int = Field(1, ge=1)
    """What kernels are chosen for."""
    largest: int = Field(8, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> "Batches":
        if not self.smallest <= self.usual <= self.largest:
            raise ValueError(f"batches {self.smallest}:{self.usual}:{self.largest} fall")
        return self


class PlanOptions(Options):
    """What a person may choose of a build; precision, size and a fixed batch are the graph's."""

    opt_level: int = Field(3, ge=0, le=5)
    """How long the builder searches; 3 is TensorRT's own default, 5 is for what is built once and used for months."""
    tf32: bool = True
    """fp32 convolutions may round their inputs to TF32 on the tensor cores, as TensorRT does unless told."""
    batches: Batches | None = None
    """Only for graphs with a dynamic batch axis."""


class Target(Options):
    """What a plan runs on."""

    compute_capability: str
    gpu_name: str
    platform: str

    @classmethod
    def of(cls, library: Library, gpu: Gpu | None, compute_capability: str | None = None) -> "Target":
        """What a build here is for.

        Args:
            gpu: the GPU of this machine, if there is one.
            compute_capability: build for another kind of GPU; only `tensorrt_rtx` can.

        Raises:
            BackendUnavailable: this library builds only on the GPU that the plan is for, or only for it.
            EngineMismatch: what was given is no compute capability.
        """
        if compute_capability not in (None, PORTABLE) and not re.fullmatch(r"[0-9]+\.[0-9]+", compute_capability or ""):
            raise EngineMismatch(
                f"--compute-capability {compute_capability}: expected two numbers with a dot, 8.9, or {PORTABLE}; "
                "nvidia-smi --query-gpu=compute_cap --format=csv has that of a GPU"
            )
        here = f"{sys.platform}-{platform.machine()}"
        if library.kind.needs_gpu:
            if gpu is None:
                raise BackendUnavailable(
                    f"{library.kind.title} times kernels on the GPU it builds for, and there is none here; build on "
                    "the machine that will run the plan, or with --backend tensorrt_rtx "
                    f"({LIBRARIES['tensorrt_rtx'].remedy})"
                )
            if compute_capability not in (None, gpu.compute_capability):
                raise BackendUnavailable(
                    f"{library.kind.title} builds for the GPU that is here, {gpu.label}, not for compute capability "
                    f"{compute_capability}; leave --compute-capability out, or take --backend tensorrt_rtx"
                )
            return cls(compute_capability=gpu.compute_capability, gpu_name=gpu.name, platform=here)
        if compute_capability is None and gpu is not None and _numbers(gpu.compute_capability) < (8, 0):
            compute_capability = gpu.compute_capability  # Turing is not in the portable set
        return cls(compute_capability=compute_capability or PORTABLE, gpu_name=ANY_GPU, platform=here)

    @classmethod
    def fitting(cls, library: Library, gpu: Gpu) -> "list[Target]":
        """What plans that run on this GPU were built for, best first."""
        own = cls.of(library, gpu)
        if library.kind.needs_gpu or own.compute_capability != PORTABLE:
            return [own]
        return [own.model_copy(update={"compute_capability": gpu.compute_capability}), own]


class Plane(Options):
    """One input or output: `logits float32 1x2x72x128`; a side of -1 is dynamic."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.name} {self.dtype} {'x'.join('?' if side < 0 else str(side) for side in self.shape)}"


class PlanKey(Options):
    """All that must agree; its digest names the files."""

    onnx_sha256: str
    """Of the graph, and of its weights where they lie in files of their own."""
    runtime: str
    """`tensorrt` or `tensorrt_rtx`."""
    runtime_version: str
    target: Target
    inputs: tuple[Plane, ...]
    outputs: tuple[Plane, ...]
    options: PlanOptions

    @property
    def digest(self) -> str:
        """Of the fields' JSON, in a fixed order of keys: 32 hex digits."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def key_of(spec: EngineSpec, library: Library, target: Target, options: PlanOptions) -> PlanKey:
    """The key of a plan of this graph.

    Raises:
        EngineMismatch: weights that lie beside the graph are missing; see `graph_sha256`.
    """
    batch = spec.batch if options.batches is None else -1
    return PlanKey(
        onnx_sha256=graph_sha256(spec),
        runtime=library.kind.module,
        runtime_version=library.version,
        target=target,
        inputs=(Plane(name=INPUT_NAME, dtype="uint8", shape=spec.input.shape(batch)),),
        outputs=tuple(
            Plane(name=name, dtype=spec.output_dtype(name), shape=(batch, *spec.output_shape(name)[1:]))
            for name in spec.output.names
        ),
        options=options,
    )


def differences(found: PlanKey, wanted: PlanKey) -> list[str]:
    """In words, what a plan was built for that is not so here; empty when it may be used."""
    pairs = {
        "of another graph": (found.onnx_sha256[:12], wanted.onnx_sha256[:12]),
        "for": (found.runtime, wanted.runtime),
        "with version": (found.runtime_version, wanted.runtime_version),
        "for compute capability": (found.target.compute_capability, wanted.target.compute_capability),
        "on GPU": (found.target.gpu_name, wanted.target.gpu_name),
        "on platform": (found.target.platform, wanted.target.platform),
        "with inputs": (_planes(found.inputs), _planes(wanted.inputs)),
        "with outputs": (_planes(found.outputs), _planes(wanted.outputs)),
        "at optimisation level": (found.options.opt_level, wanted.options.opt_level),
        "with TF32": (_on(found.options.tf32), _on(wanted.options.tf32)),
        "with batches": (_batches(found.options.batches), _batches(wanted.options.batches)),
    }
    return [f"built {what} {was}, here {is_now}" for what, (was, is_now) in pairs.items() if was != is_now]


def source_of(spec: EngineSpec) -> str:
    """What `build` takes for this graph: a name where one leads to it, else the file."""
    name = f"{spec.name}@{spec.input.size}:{spec.precision}"
    try:
        is_named = resolve(name).path.resolve() == spec.path.resolve()  # a folder before this one may have the name too
    except EngineError:
        is_named = False
    return name if is_named else str(spec.path)


def build_command(source: str, key: PlanKey) -> str:
    """What a person types to get a plan of this key."""
    words = [f"python -m engines build {shlex.quote(source)} --backend {key.runtime}"]
    options, target = key.options, key.target
    if options.opt_level != PlanOptions().opt_level:
        words.append(f"--opt-level {options.opt_level}")
    if not options.tf32:
        words.append("--no-tf32")
    if options.batches is not None and options.batches != Batches():
        words.append(f"--batches {options.batches.smallest}:{options.batches.usual}:{options.batches.largest}")
    if target.gpu_name == ANY_GPU and target.compute_capability != PORTABLE:
        words.append(f"--compute-capability {target.compute_capability}")
    return " ".join(words)


def _planes(planes: tuple[Plane, ...]) -> str:
    return ", ".join(plane.label for plane in planes)


def _batches(batches: Batches | None) -> str:
    return "fixed" if batches is None else f"{batches.smallest} to {batches.largest}, mostly {batches.usual}"


def _on(is_on: bool) -> str:
    return "on" if is_on else "off"


def _numbers(compute_capability: str) -> tuple[int, ...]:
    return tuple(int(part) for part in compute_capability.split("."))
