"""Data sets seen through another: a part of one, or one whose decoded pictures stay in memory.

The trap: `Kept` keeps what came first until its budget is used up and never gives anything back. Pictures are drawn
at random, so throwing one out to keep another would gain nothing.
"""

import threading
from collections.abc import Iterator, Sequence

from engines.data.pairs import Dataset, Pair

__all__ = ["Kept", "Part"]


class Part:
    """Some pictures of a data set, by index."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = tuple(indices)
        self.classes = dataset.classes
        self.names = tuple(dataset.names[index] for index in self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[Pair]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Pair:
        """A picture of the part."""
        return self.dataset[self.indices[index]]


class Budget:
    """Bytes that several data sets share; safe to use from several threads."""

    def __init__(self, n_bytes: int) -> None:
        self.left = n_bytes
        self._lock = threading.Lock()

    def take(self, n_bytes: int) -> bool:
        """Take so many bytes; False when they are not there any more."""
        with self._lock:
            if n_bytes > self.left:
                return False
            self.left -= n_bytes
            return True


class Kept:
    """A data set that decodes a picture once, as long as its budget lasts; read-only arrays."""

    def __init__(self, dataset: Dataset, budget: Budget) -> None:
        self.dataset = dataset
        self.budget = budget
        self.classes = dataset.classes
        self.names = dataset.names
        self._kept: dict[int, Pair] = {}

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[Pair]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Pair:
        """A picture from memory, or read and kept where there is room."""
        kept = self._kept.get(index)
        if kept is not None:
            return kept
        pair = self.dataset[index]
        # Two threads may read one picture at once; the second takes its bytes from the budget for nothing.
        if index not in self._kept and self.budget.take(pair.image_bgr.nbytes + pair.label_map.nbytes):
            self._kept[index] = pair
        return pair
