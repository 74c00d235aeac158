"""Sources to draw from, and batches of crops made ahead by threads.

Every crop depends only on (seed, step, place in the batch): a run that is resumed, or made by more threads or more
processes, sees what an uninterrupted one would have seen. Threads are enough: OpenCV works without the
interpreter's lock.
"""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engines.data.datasets import Distrust, Source, open_dataset
from engines.data.formats.clip import Clip
from engines.data.pairs import Dataset, Pair
from engines.data.transforms import Augment, Crop, augmented
from engines.data.trust import Believed, Teacher, Witness
from engines.data.views import Budget, Kept
from engines.errors import DataError

__all__ = ["Batch", "Group", "Source", "TrainingSet", "batches", "made_ahead"]

Made = TypeVar("Made")
AHEAD = 4
"""Batches that wait for the trainer."""
CACHE_MB = 1024
"""Decoded pictures kept in memory, unless told otherwise."""


@dataclass(frozen=True, eq=False)
class Batch:
    """The crops of one step."""

    images_bgr: Tensor
    """(n, crop, crop, 3) uint8."""
    labels: Tensor
    """(n, crop, crop) uint8; 255 is ignored."""
    is_distilled: Tensor
    """(n,) bool: the teacher's soft labels are wanted for these."""
    inside: Tensor
    """(n, crop, crop) uint8: 1 in a picture, 0 in bars and outside; a label of 255 may be either."""

    def first(self, n: int) -> "Batch":
        """The first crops of it; views."""
        return Batch(self.images_bgr[:n], self.labels[:n], self.is_distilled[:n], self.inside[:n])


@dataclass(frozen=True, eq=False)
class Group:
    """One source, opened."""

    share: float
    pairs: Dataset | Sequence[Pair]
    is_distilled: bool = False
    is_backdrop: bool = False


class TrainingSet:
    """All sources; drawn from by share."""

    def __init__(self, groups: Sequence[Group]) -> None:
        if not groups or not all(len(group.pairs) for group in groups):
            raise DataError("the training set has no pictures; name at least one source that holds some")
        self.groups = tuple(groups)
        shares = np.array([group.share for group in groups])
        self.probabilities = shares / shares.sum()
        backdrops = np.array([share * group.is_backdrop for share, group in zip(shares, groups, strict=True)])
        # Where no source is a backdrop, windows without a subject are cut out of any.
        self.backdrop_probabilities = backdrops / backdrops.sum() if backdrops.any() else self.probabilities

    @classmethod
    def read(
        cls,
        sources: Sequence[Source],
        classes: int | tuple[str, ...],
        teacher: Teacher | None = None,
        teacher_class: int = 0,
        cache_mb: float = CACHE_MB,
        say: Callable[[str], None] | None = None,
    ) -> "TrainingSet":
        """Open every source; `teacher` is asked where a source distrusts its labels.

        Args:
            classes: as `open_dataset` takes them.
            teacher_class: the teacher's class for the subject.
            cache_mb: decoded pictures stay in memory up to so much, in order of their first use.
            say: takes a line of progress now and then while the teacher looks.

        Raises:
            DataError: a source cannot be read, or distrusts its labels and there is no teacher.
        """
        budget = Budget(int(cache_mb * 1e6))
        groups = []
        for source in sources:
            pairs = open_dataset(source, classes)
            if source.distrust is not Distrust.NOTHING:
                if teacher is None:
                    raise DataError(f"{source.path}: distrust {source.distrust.value} needs `teacher` in the config")
                witness = Witness(teacher, teacher_class, source.distrust_scale)
                pairs = Believed(pairs, source.distrust, witness, say)
            # A clip lies in memory as it is.
            pairs = pairs if isinstance(pairs, Clip) else Kept(pairs, budget)
            groups.append(Group(source.share, pairs, source.is_distilled, source.is_backdrop))
        return cls(groups)

    def __len__(self) -> int:
        return sum(len(group.pairs) for group in self.groups)

    def crops(self, batch: int, augment: Augment, seed: int, step: int, places: range | None = None) -> Batch:
        """The batch of one step.

        Args:
            batch: crops of the whole step, over all processes.
            places: of them, those to make here; None for all.
        """
        made = [self._crop(augment, seed, step, place) for place in (range(batch) if places is None else places)]
        crops, is_distilled = zip(*made, strict=True)
        images, labels, inside = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*crops, strict=True))
        return Batch(images, labels, torch.tensor(is_distilled), inside)

    def _crop(self, augment: Augment, seed: int, step: int, place: int) -> tuple[Crop, bool]:
        rng = np.random.default_rng((seed, step, place))
        group = self._group(self.probabilities, rng)
        return augmented(_drawn(group, rng), augment, rng, self._backdrop), group.is_distilled

    def _backdrop(self, rng: np.random.Generator) -> Pair:
        return _drawn(self._group(self.backdrop_probabilities, rng), rng)

    def _group(self, probabilities: NDArray[np.float64], rng: np.random.Generator) -> Group:
        return self.groups[int(rng.choice(len(self.groups), p=probabilities))]


def _drawn(group: Group, rng: np.random.Generator) -> Pair:
    return group.pairs[int(rng.integers(len(group.pairs)))]


def batches(
    training_set: TrainingSet,
    batch: int,
    augment: Augment,
    seed: int,
    first_step: int,
    n_steps: int,
    *,
    n_threads: int = 1,
    places: range | None = None,
) -> Generator[Batch]:
    """Batches of steps `first_step` to `n_steps` - 1, in order, made ahead by `n_threads`.

    See `made_ahead` for how threads end and errors travel.
    """

    def make(step: int) -> Batch:
        return training_set.crops(batch, augment, seed, step, places)

    return made_ahead(make, first_step, n_steps, n_threads)


def made_ahead(make: Callable[[int], Made], first_step: int, n_steps: int, n_threads: int = 1) -> Generator[Made]:
    """`make(step)` for each step in order, made by `n_threads` before it is asked for.

    The threads end when the iterator is closed; an error in one is raised where its step is asked for.
    """
    # OpenCV's own threads would only take turns with the trainer's.
    cv2.setNumThreads(1)
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="crops")
    waiting: deque[Future[Made]] = deque()
    ahead = max(AHEAD, n_threads + 1)
    try:
        for step in range(first_step, n_steps + ahead):
            if step < n_steps:
                waiting.append(pool.submit(make, step))
            if step >= first_step + ahead:
                yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
