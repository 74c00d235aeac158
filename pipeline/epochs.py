"""One worker's stages and the settings they are to follow, epoch by epoch."""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engines.names import resolve
from pipeline.frame import PlaneSpec, StreamFormat
from pipeline.layout import planes_of
from pipeline.settings import Settings
from pipeline.stages import Stage

__all__ = ["Epochs"]


class Epochs:
    """Prepares settings beside the frames, and uses them when the first frame of their epoch comes by."""

    def __init__(self, stages: Sequence[Stage], settings: Settings, wake: Callable[[], None]) -> None:
        """What does not depend on the stream's format is prepared at once: engines take longest."""
        self._stages = stages
        self._settings = settings
        self._wake = wake
        self._early = [None if stage.needs_format else stage.prepare(settings) for stage in stages]
        self._prepared: dict[int, list[Any]] = {}
        self._engines: dict[int, str] = {}
        self._layouts: dict[tuple[int, str], Mapping[str, PlaneSpec]] = {}
        self._formats: Mapping[int, StreamFormat] = {}
        self._used = -1
        self._n_asked = 0
        self._asked: queue.SimpleQueue[Settings] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[Settings, list[Any] | None, str]] = queue.SimpleQueue()

    def begin(self, formats: Mapping[int, StreamFormat]) -> None:
        """The formats are known: begin the stages, and use the first settings."""
        self._formats = formats
        for stage in self._stages:
            stage.begin(formats)
        pairs = zip(self._stages, self._early, strict=True)
        made = [stage.prepare(self._settings) if stage.needs_format else early for stage, early in pairs]
        self._plan(self._settings.engine)
        self._remember(self._settings, made)
        self.use(self._settings.epoch)
        # One thread for all preparations: two at once could open the same engine twice.
        threading.Thread(target=self._prepare, name="prepare", daemon=True).start()

    def is_new(self, epoch: int) -> bool:
        """Whether to `use` it means other settings than now."""
        return epoch != self._used and epoch in self._prepared

    def use(self, epoch: int) -> bool:
        """Have the stages follow an epoch; False when it was never prepared here."""
        if epoch == self._used:
            return True
        made = self._prepared.get(epoch)
        if made is None:
            return False
        for stage, prepared in zip(self._stages, made, strict=True):
            stage.use(prepared)
        before, self._used = self._used, epoch
        for old in [known for known in self._prepared if known < min(before, epoch)]:
            del self._prepared[old], self._engines[old]
        if self._n_asked == 0:
            for index, stage in enumerate(self._stages):
                stage.keep([prepared[index] for prepared in self._prepared.values()])
        return True

    def layout(self, stream: int, epoch: int) -> Mapping[str, PlaneSpec]:
        """The planes of one stream's frames in one epoch."""
        return self._layouts[stream, self._engines[epoch]]

    def prepare_beside(self, settings: Settings) -> None:
        """Prepare in a thread; the outcome comes from `answers`."""
        self._n_asked += 1
        self._asked.put(settings)

    def answers(self) -> list[dict[str, Any]]:
        """What became of preparations since the last call, as the supervisor hears it."""
        told = []
        while not self._answers.empty():
            settings, made, why = self._answers.get()
            self._n_asked -= 1
            if made is not None:
                self._remember(settings, made)
            told.append({"type": "prepared", "epoch": settings.epoch, "why": why})
        return told

    def _prepare(self) -> None:
        while True:
            settings = self._asked.get()
            try:
                made = [stage.prepare(settings) for stage in self._stages]
                self._plan(settings.engine)
                self._answers.put((settings, made, ""))
            except Exception as error:  # noqa: BLE001 - whatever went wrong, the old settings go on serving
                self._answers.put((settings, None, str(error) or type(error).__name__))
            self._wake()

    def _remember(self, settings: Settings, made: list[Any]) -> None:
        self._prepared[settings.epoch] = made
        self._engines[settings.epoch] = settings.engine

    def _plan(self, engine: str) -> None:
        """Work out the planes; reading an engine's manifest takes longer than a frame should wait."""
        for stream, format in self._formats.items():
            if (stream, engine) not in self._layouts:
                self._layouts[stream, engine] = planes_of(format, resolve(engine))
