"""The lattice points that hold something, who neighbours whom, and which pixels each one gathers.

Its twin is `engines.crf.table`, a hash table. Here keys are sorted, which makes the table exactly as large as it must
be (nothing can overflow), the same on every run, and leaves each point's pixels in one piece. The trap: a flat
picture has points with a tenth of all pixels; rows are therefore cut into pieces of `PIECE`, summed on their own first.
"""

from dataclasses import dataclass

import torch

__all__ = ["PIECE", "Table", "pieces"]

PIECE = 32
"""Entries of a point that one program adds up."""


@dataclass(frozen=True, eq=False)
class Table:
    """A lattice of n points with d features; V of its points hold something."""

    corners: torch.Tensor
    """(n, d + 1) int32: lattice points."""
    weights: torch.Tensor
    """(n, d + 1) float32."""
    order: torch.Tensor
    """(n (d + 1),) int64: entries of `corners`, those of one lattice point behind each other."""
    starts: torch.Tensor
    """(V + 1,) int64: where in `order` each begins."""
    near: torch.Tensor
    """(d + 1, 2, V) int32: neighbours along each axis; V where there is none."""

    @property
    def n_vertices(self) -> int:
        """V."""
        return self.near.shape[2]

    @classmethod
    def of(cls, keys: torch.Tensor, weights: torch.Tensor, steps: torch.Tensor) -> "Table":
        """From `simplices.locate` and its embedding's steps; one sort, and one look-up of all neighbours."""
        ordered, order = torch.sort(keys.flatten(), stable=True)
        is_first = torch.ones_like(ordered, dtype=torch.bool)
        torch.ne(ordered[1:], ordered[:-1], out=is_first[1:])
        corners = torch.empty_like(ordered, dtype=torch.int32)
        corners[order] = (is_first.cumsum(0) - 1).to(torch.int32)
        firsts = is_first.nonzero().flatten()
        vertices = ordered[firsts]
        end = torch.full_like(firsts[:1], len(ordered))
        sought = vertices + torch.stack([-steps, steps], dim=1)[:, :, None]
        at = torch.searchsorted(vertices, sought).clamp_(max=len(vertices) - 1)
        near = torch.where(vertices[at] == sought, at, len(vertices)).to(torch.int32)
        return cls(corners.reshape(keys.shape), weights, order, torch.cat([firsts, end]), near)


def pieces(starts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut rows of entries into pieces of at most `PIECE`.

    Args:
        starts: (V + 1,) int64, rising.

    Returns:
        bounds (P, 2) int64: first entry and the one behind the last; ends (V, 2) int64: likewise, pieces of each row.
    """
    counts = (starts[1:] - starts[:-1] + PIECE - 1) // PIECE
    firsts = torch.zeros_like(starts)
    torch.cumsum(counts, 0, out=firsts[1:])
    row = torch.repeat_interleave(torch.arange(len(counts), device=starts.device), counts)
    number = torch.arange(len(row), device=starts.device) - firsts[row]
    ends = torch.stack([firsts[:-1], firsts[1:]], dim=1)
    begin = starts[row] + number * PIECE
    return torch.stack([begin, torch.minimum(begin + PIECE, starts[row + 1])], dim=1), ends
