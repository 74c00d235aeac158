"""A training in TensorBoard: scalars every few steps, pictures at every evaluation.

    tensorboard --logdir runs/toy

Loss terms, learning rates, speed; mIoU and the IoU of each class; a grid of input, label and prediction for
the same few pictures of each validation set, and one of the crops that are trained on. The trap: after a
resume the old file still holds steps that come again; `purge_step` tells TensorBoard to hide them.

A disk that is full costs curves, not the training: one line, and a new file is tried at the next evaluation.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from engines.errors import BackendUnavailable
from engines.training.seen.events import EventFile
from engines.training.seen.pictures import coloured, grid, spread
from engines.training.watch import EvaluationFacts, StartFacts, StepFacts, Watcher

if TYPE_CHECKING:
    from engines.data.datasets import Pair
    from engines.training.config import TrainConfig, Validation

__all__ = ["FOLDER", "TensorBoard"]

FOLDER = "tensorboard"
"""In the training's folder."""
N_PICTURES = 4
"""Of each validation set, and of the crops."""


class TensorBoard(Watcher):
    """Event files in `OUT/tensorboard`.

    Args:
        say: takes a line when the file cannot be written.
        every: steps between two scalars; losses are means over them.

    Raises:
        BackendUnavailable: tensorboard is not installed.
    """

    def __init__(self, say: Callable[[str], None] = lambda _line: None, every: int = 10) -> None:
        try:
            import tensorboard  # noqa: F401
        except ImportError as error:
            raise BackendUnavailable("tensorboard is not installed; pip install 'segstream[train]'") from error
        self.say = say
        self.every = every
        self._folder: Path
        self._file: EventFile | None = None
        """None before the start, and after a failed write until the next evaluation."""
        self._config: TrainConfig
        self._recent: list[dict[str, float]] = []
        self._shown: dict[str, list[Pair]] = {}
        self._wants_crops = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    def started(self, facts: StartFacts) -> None:
        """Open the event file, and keep the config as text."""
        import json

        self._folder, self._config = facts.out / FOLDER, facts.config
        told = json.dumps(facts.config.model_dump(mode="json"), indent=2)
        with self._written():
            self._file = EventFile(self._folder, facts.first_step + 1 if facts.first_step else None)
            self._file.text("config", f"```\n{told}\n```", facts.first_step)

    def stepped(self, facts: StepFacts) -> None:
        """Scalars, every few steps."""
        self._recent.append({"total": facts.loss, **facts.terms})
        if facts.step % self.every and facts.step != facts.n_steps:
            return
        names = {name for row in self._recent for name in row}
        values = {name: [row[name] for row in self._recent if name in row] for name in names}
        self._recent.clear()
        with self._written():
            for name, found in values.items():
                self._scalar(f"loss/{name}", sum(found) / len(found), facts.step)
            for group, rate in facts.learning_rates.items():
                self._scalar(f"learning rate/{group}", rate, facts.step)
            self._scalar("speed/images per s", facts.images_per_s, facts.step)
            self._scalar("speed/waited for crops (s)", facts.waited_s, facts.step)
            if self._wants_crops:
                self._wants_crops = False
                self._crops(facts)

    def evaluated(self, facts: EvaluationFacts) -> None:
        """Scores of each set, and what the network makes of a few of its pictures."""
        self._wants_crops = True
        with self._written():
            if self._file is None:
                self._file = EventFile(self._folder)
            self._scalar("mIoU/all", facts.miou, facts.step)
            for name, result in facts.scores.items():
                self._scalar(f"mIoU/{name}", result.scores.miou, facts.step)
                for label, value in result.scores.iou.items():
                    self._scalar(f"IoU {name}/{label}", value, facts.step)
            for validation in self._config.validation:
                if validation.title not in self._shown:
                    pairs = facts.sets[validation.title]
                    self._shown[validation.title] = spread(pairs, len(pairs), N_PICTURES)
                self._predictions(validation, facts)

    @contextmanager
    def _written(self) -> Iterator[None]:
        """What is written inside; a failure is told and costs the rest of it."""
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            self.say(f"{self._folder}: cannot be written ({reason}); training goes on without curves in TensorBoard")
            if self._file is not None:
                self._file.close()
            self._file = None

    def _scalar(self, tag: str, value: float, step: int) -> None:
        if self._file is not None:
            self._file.scalar(tag, value, step)

    def _image(self, tag: str, image_bgr: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]", step: int) -> None:
        if self._file is not None:
            self._file.image(tag, np.ascontiguousarray(image_bgr[..., ::-1]), step)

    def _predictions(self, validation: "Validation", facts: EvaluationFacts) -> None:
        from engines.training.validate import segmenter_of

        segmenter = segmenter_of(facts.network, self._config, validation)
        rows = []
        for pair in self._shown[validation.title]:
            predicted = segmenter.logits(pair.image_bgr).argmax(axis=2).astype(np.uint8)
            over = [coloured(pair.image_bgr, labels, self._config.palette) for labels in (pair.label_map, predicted)]
            rows.append([pair.image_bgr, *over])
        self._image(f"{validation.title}: image, label, prediction", grid(rows), facts.step)

    def _crops(self, facts: StepFacts) -> None:
        images = facts.batch.images_bgr[:N_PICTURES].cpu().numpy()
        labels = facts.batch.labels[:N_PICTURES].cpu().numpy()
        over = [
            coloured(image, label_map, self._config.palette) for image, label_map in zip(images, labels, strict=True)
        ]
        self._image("crops that are trained on", grid([list(images), over]), facts.step)
