"""Which stages share a process, where nobody says it stage by stage: `placement: auto | fused | split`.

On a CPU stages work side by side in processes of their own (`split`). On a GPU a frame should stay where it is, so all
between capture and the sinks is one process (`fused`). The trap: this is decided before any engine is open, by what is
known without loading a library; `auto` can be wrong, and a fused run on a CPU is right but slower.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engines.runtime.expected import no_gpu_reason
from pipeline.config import RunConfig

__all__ = ["Placement", "placement_of"]

APART = frozenset({"tap", "render"})
"""Stages that a second process cannot have too, or that each stream has for itself."""

Groups = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Placement:
    """Who shares a process, and why."""

    kind: Literal["fused", "split", "own"]
    """`own`: as `workers` says."""
    why: str
    groups: Groups

    @property
    def told(self) -> str:
        """`fused (an NVIDIA GPU is expected to serve)`."""
        return f"{'workers of your own' if self.kind == 'own' else self.kind} ({self.why})"


def placement_of(config: RunConfig, order: Sequence[str], n_streams: int) -> Placement:
    """Group the stages of a corridor, given in their order, capture first."""
    if config.workers:
        return Placement("own", "workers is set", config.workers)
    kind, why = config.placement, "asked for"
    if kind == "auto":
        reason = no_gpu_reason(config.backend, config.engine)
        kind, why = ("fused", "an NVIDIA GPU is expected to serve") if reason is None else ("split", reason)
    if kind == "split":
        return Placement("split", why, tuple((stage,) for stage in order))
    shared, why_apart = tuple(order[1:]), ""
    apart: Groups = ()
    if n_streams > 1:
        why_apart = "render apart: streams share the engine, and each has sinks of its own"
    elif config.restart.standby:
        why_apart = "render apart: sinks cannot be open in a standby too"
    if why_apart:
        shared = tuple(stage for stage in order[1:] if stage not in APART)
        apart = tuple((stage,) for stage in order[1:] if stage in APART)
        why = f"{why}; {why_apart}"
    return Placement("fused", why, ((order[0],), shared, *apart))
