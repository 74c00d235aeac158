"""The plan that TensorRT would need for a graph and does not have: what `run --build` builds.

The trap: a plan that is kept but damaged, or does not open, is not missing. It is told of with its remedy and never
quietly replaced, so what is asked here is what a backend asks before it opens a plan, by the same code.
"""

import shlex
from dataclasses import dataclass

from engines.plans.key import source_of
from engines.plans.library import LIBRARIES
from engines.runtime import BACKENDS, PrecisionHint, backend_reason, missing_reason
from engines.spec import EngineSpec

__all__ = ["MissingPlan", "missing_plan"]


@dataclass(frozen=True)
class MissingPlan:
    """Plain words, so that they can be sent to another process."""

    label: str
    """`person 512x288 fp32`."""
    backend: str
    """`tensorrt` or `tensorrt_rtx`: what will run it."""
    source: str
    """What `build` takes: `person@512x288:fp32`, or the path of an ONNX file."""
    arithmetic: str
    """`auto`, or `f32` for a plan without TF32."""
    why: str
    """Why it is wanted: there is none, or none that fits."""

    @property
    def arguments(self) -> list[str]:
        """Of `python -m engines`."""
        exact = ["--no-tf32"] if self.arithmetic == "f32" else []
        return ["build", self.source, "--backend", self.backend, *exact]

    @property
    def command(self) -> str:
        """What a person types to the same end."""
        return f"python -m engines {shlex.join(self.arguments)}"

    @property
    def title(self) -> str:
        """`person 512x288 fp32 for TensorRT-RTX`."""
        return f"{self.label} for {LIBRARIES[self.backend].title}"


def missing_plan(
    spec: EngineSpec, backend: str = "auto", precision_hint: PrecisionHint = "auto"
) -> tuple[MissingPlan | None, str]:
    """The plan that would have a graph served by TensorRT here, or None and why there is nothing to build.

    Args:
        backend: as in `run`; only `auto` and the backends of TensorRT ever want a plan.
    """
    if backend not in ("auto", *LIBRARIES):
        return None, f"backend {backend} needs no plan"
    if not spec.sha256:
        return None, f"{spec.label} has no graph to build from"
    wanted: MissingPlan | None = None
    reasons: list[str] = []
    for name in [name for name in BACKENDS if name in LIBRARIES and backend in ("auto", name)]:
        if (reason := backend_reason(name)) is not None:
            reasons += [] if reason in reasons else [reason]
        elif (lacking := missing_reason(name, spec, precision_hint)) is None:
            return None, f"a plan of {spec.label} for {LIBRARIES[name].title} is kept"
        elif wanted is None:
            wanted = MissingPlan(spec.label, name, source_of(spec), precision_hint, lacking)
    return wanted, "; ".join(reasons)
