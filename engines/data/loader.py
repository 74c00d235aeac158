"""Training pictures in memory, and batches of crops made ahead by one thread.

Every crop depends only on (seed, step, place in the batch): a run that is resumed sees what an uninterrupted
one would have seen. One thread is enough: a crop costs 4 ms, its share of a training step more than ten times
that, and OpenCV works without the interpreter's lock.
"""

import queue
import threading
from collections.abc import Generator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from configs import Options
from engines.data.datasets import Folder, Pair, clip_of_background
from engines.data.transforms import Augment, augmented
from engines.data.trust import Distrust, believed
from engines.errors import DataError

__all__ = ["Source", "TrainingSet", "batches"]

AHEAD = 4
"""Batches that wait for the trainer."""


class Source(Options):
    """A folder of pairs, or a clip of nothing but background."""

    path: Path
    """A folder with `images/` and `masks/`, or a video file."""
    prefix: str = ""
    """Only images whose name begins so."""
    share: float = Field(1.0, gt=0)
    """How often it is drawn, against the other sources' shares."""
    distrust: Distrust = Distrust.NOTHING


class TrainingSet:
    """All sources, decoded once; drawn from by share."""

    def __init__(self, groups: Sequence[tuple[float, list[Pair]]]) -> None:
        if not groups or not all(pairs for _, pairs in groups):
            raise DataError("the training set has no pictures; name at least one source that holds some")
        self.groups = [pairs for _, pairs in groups]
        shares = np.array([share for share, _ in groups])
        self.probabilities = shares / shares.sum()

    @classmethod
    def read(
        cls, sources: Sequence[Source], n_classes: int, teacher: nn.Module | None = None, teacher_class: int = 0
    ) -> "TrainingSet":
        """Decode every source; `teacher` is asked where a source distrusts its labels.

        Raises:
            DataError: a source cannot be read, or distrusts its labels and there is no teacher.
        """
        groups = []
        for source in sources:
            pairs: list[Pair] = (
                list(clip_of_background(source.path))
                if source.path.is_file()
                else list(Folder(source.path, n_classes, source.prefix))
            )
            if source.distrust is not Distrust.NOTHING:
                if teacher is None:
                    raise DataError(f"{source.path}: distrust {source.distrust.value} needs `teacher` in the config")
                pairs = [believed(pair, source.distrust, teacher, teacher_class) for pair in pairs]
            groups.append((source.share, pairs))
        return cls(groups)

    def __len__(self) -> int:
        return sum(len(pairs) for pairs in self.groups)

    def crops(self, batch: int, augment: Augment, seed: int, step: int) -> tuple[Tensor, Tensor]:
        """The batch of one step: (n, crop, crop, 3) uint8 BGR and (n, crop, crop) uint8 labels."""
        made = []
        for place in range(batch):
            rng = np.random.default_rng((seed, step, place))
            pairs = self.groups[int(rng.choice(len(self.groups), p=self.probabilities))]
            made.append(augmented(pairs[int(rng.integers(len(pairs)))], augment, rng))
        images, labels = zip(*made, strict=True)
        return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels))


def batches(
    training_set: TrainingSet, batch: int, augment: Augment, seed: int, first_step: int, n_steps: int
) -> Generator[tuple[Tensor, Tensor]]:
    """Batches of steps `first_step` to `n_steps` - 1, made ahead; the thread ends when the iterator is closed."""
    ready: queue.Queue[tuple[Tensor, Tensor] | Exception] = queue.Queue(AHEAD)
    is_closed = threading.Event()

    def put(item: tuple[Tensor, Tensor] | Exception) -> None:
        while not is_closed.is_set():
            try:
                ready.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def make() -> None:
        try:
            for step in range(first_step, n_steps):
                if is_closed.is_set():
                    return
                put(training_set.crops(batch, augment, seed, step))
        except Exception as error:  # noqa: BLE001  # handed to the trainer, who raises it where somebody reads it
            put(error)

    # Its own threads would only take turns with the trainer's.
    cv2.setNumThreads(1)
    thread = threading.Thread(target=make, name="crops", daemon=True)
    thread.start()
    try:
        for _ in range(first_step, n_steps):
            item = ready.get()
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        is_closed.set()
        thread.join()
