"""What may change while a stream runs, one immutable set per epoch.

A frame is stamped with the epoch it was captured in, and every stage treats it by that epoch's
settings: a frame is never half old and half new.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, Self

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """One epoch's settings."""

    epoch: int
    engine: str
    """As named on the command line: `NAME[@WxH][:precision]` or a path."""
    effects: tuple[str, ...]
    """One `NAME[:VALUE]` per stream."""
    strength: float = 1.0
    """0 to 2; 1 is the effect as configured."""
    mask: bool = True
    """False shows the frame untouched."""

    def changed(self, epoch: int, **changes: Any) -> Self:
        """A later epoch's settings."""
        return replace(self, epoch=epoch, **changes)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the control link."""
        return asdict(self)

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(**{**tree, "effects": tuple(tree["effects"])})
