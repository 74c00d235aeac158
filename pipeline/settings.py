"""What may change while a stream runs, one immutable set per epoch.

A frame is stamped with the epoch it was captured in, and every stage treats it by that epoch's
settings: a frame is never half old and half new.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Self

from pydantic import Field

from configs import Options

__all__ = ["MatteOptions", "Settings"]

ENOUGH_CORES = 4
"""Guided edges take 5 to 10 ms of a core at 720p: on two cores every sixth frame, on four none."""


class MatteOptions(Options):
    """How masks of the engine's size become mattes of the frame's."""

    edges: Literal["auto", "guided", "linear"] = "auto"
    """`guided` puts contours on the picture's edges, `linear` only enlarges; `auto` is `guided`, but `linear` where
    frames stay on a GPU, and in a live run on fewer than four cores."""
    shrink_px: int = Field(0, ge=-20, le=20)
    """The contour moves inwards by so many pixels of the frame; below 0, outwards."""
    feather_px: int = Field(0, ge=0, le=50)
    """The contour is softened by so many pixels of the frame on each side."""

    def decided(self, *, is_on_device: bool, is_live: bool, n_cores: int) -> Self:
        """The same with `auto` resolved. Where frames stay on a GPU nothing but `linear` is made."""
        if is_on_device or (self.edges == "auto" and is_live and n_cores < ENOUGH_CORES):
            return self.model_copy(update={"edges": "linear"})
        return self.model_copy(update={"edges": "guided"}) if self.edges == "auto" else self


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
    matte: MatteOptions = field(default_factory=MatteOptions)
    backends: Mapping[str, str] = field(default_factory=dict)
    """Engine to backend, where that is not the run's own: one whose plan was built beside the stream."""

    @property
    def opening(self) -> tuple[str, str]:
        """What tells one opened engine from another: its name, and its backend, empty for the run's own."""
        return self.engine, self.backends.get(self.engine, "")

    def changed(self, epoch: int, **changes: Any) -> Self:
        """A later epoch's settings."""
        return replace(self, epoch=epoch, **changes)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the control link."""
        return {**asdict(self), "matte": self.matte.model_dump()}

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        read = {"effects": tuple(tree["effects"]), "matte": MatteOptions(**tree.get("matte", {}))}
        return cls(**{**tree, **read})
