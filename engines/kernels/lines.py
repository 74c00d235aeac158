"""Sizes of blocks whose rows hold the values of a pixel or of a lattice point, one behind the other."""

from engines.kernels.launch import INTERPRETED, ready

__all__ = ["entries_a_step", "line_length", "rows_a_program"]

TILE = 2048
"""Numbers that a program holds at once on a GPU: sixteen a thread of four warps."""
INTERPRETED_TILE = 1 << 17
INTERPRETED_ENTRIES = 4
SECTOR = 8
"""float32 numbers that the memory of a GPU hands over at once."""


def rows_a_program(row_size: int, n_rows: int) -> int:
    """Rows that fit into a block, a power of two."""
    most = max(1, (INTERPRETED_TILE if INTERPRETED else TILE) // row_size)
    return min(most, ready(n_rows))


def line_length(n_values: int) -> int:
    """Numbers from one row to the next: a few values as they are, many so that every row begins a sector."""
    return n_values if n_values <= SECTOR // 2 else -(-n_values // SECTOR) * SECTOR


def entries_a_step(row_size: int, most: int) -> int:
    """Entries of a row that are added up at once, a power of two: as many as fit, and not more than it has."""
    return INTERPRETED_ENTRIES if INTERPRETED else max(1, min(most, TILE // row_size))
