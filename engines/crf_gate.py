"""`--crf auto`: whether an engine gets a dense CRF, as its manifest says, and why.

`python -m engines tune-crf` writes what stands there. The trap: widths are in pixels of the engine's input, so a
setting holds for the size it was found at and for no other.
"""

from dataclasses import dataclass

from engines.crf import unavailable_reason
from engines.errors import EngineMismatch
from engines.manifest import CrfSetting
from engines.record import manifest_of
from engines.spec import EngineSpec

__all__ = ["Gate", "gate_of"]


@dataclass(frozen=True)
class Gate:
    """What `--crf auto` does for one graph."""

    setting: CrfSetting | None
    """None: no CRF."""
    why: str
    """For people: `off: ...` or `fast w1 4 ...: ...`."""


def gate_of(spec: EngineSpec) -> Gate:
    """Read the manifest beside the graph; whatever is missing there or on this machine means off, with its reason."""
    try:
        _, manifest = manifest_of(spec)
    except EngineMismatch:
        return Gate(None, f"off: {spec.name} has no manifest that could ask for it")
    setting, gain = manifest.crf, manifest.crf_gain
    if setting == "none":
        if gain is None:
            return Gate(None, f"off: nobody measured whether it helps {spec.name} (engines tune-crf)")
        if gain.size != spec.input.size:
            return Gate(
                None, f"off: nobody measured whether it helps {spec.name} at {spec.input.size} (engines tune-crf)"
            )
        return Gate(None, f"off: it does not surely help {spec.name}: {gain.label}")
    if gain is not None and gain.size != spec.input.size:
        return Gate(None, f"off: it was tuned at {gain.size} and this graph is {spec.input.size} (engines tune-crf)")
    if (reason := unavailable_reason(setting.method)) is not None:
        return Gate(None, f"off: {spec.name} asks for {setting.method}, but {reason}")
    return Gate(setting, f"{setting.label}: {'as the manifest says' if gain is None else gain.label}")
