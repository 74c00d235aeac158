"""How far a steadied mask lies behind the raw one, along the motion.

Areas instead of edges: what the mask lacks in the front half, and has too much of in the back half, a row of the mask.
So one stray pixel is one pixel and no lag of a hundred. The trap: a mask that grows or shrinks on both sides alike has
no lag, and should have none; look at `edge_px` for that.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Lag", "lag_of"]


@dataclass(frozen=True)
class Lag:
    """In pixels of the masks; positive is behind."""

    front_px: float
    """What is missing at the edge that goes ahead."""
    back_px: float
    """What was left standing at the edge that follows."""

    @property
    def displacement_px(self) -> float:
        """How far the whole mask is displaced against the motion."""
        return (self.front_px + self.back_px) / 2

    @property
    def edge_px(self) -> float:
        """The worse edge, whatever its sign."""
        return max(abs(self.front_px), abs(self.back_px))


def lag_of(raw: NDArray[np.uint8], steady: NDArray[np.uint8]) -> Lag | None:
    """Of two label maps of something that moves to the right.

    Args:
        raw: (h, w) 0 or 1, what the engine says of this frame.
        steady: (h, w) 0 or 1, what is shown.

    Returns:
        None where the raw mask is empty.
    """
    of_column = raw.sum(axis=0, dtype=np.int64)
    if not of_column.any():
        return None
    n_rows = int(np.count_nonzero(raw.any(axis=1)))
    excess = steady.sum(axis=0, dtype=np.int64) - of_column
    centre = float(np.average(np.arange(raw.shape[1]), weights=of_column))
    middle = int(np.ceil(centre))
    return Lag(front_px=float(-excess[middle:].sum()) / n_rows, back_px=float(excess[:middle].sum()) / n_rows)
