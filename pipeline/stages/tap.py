"""Writes what the engine saw and said of every frame to a folder: for `parity`, and to look into a stream.

One file a frame, `STREAM-SEQUENCE.npz`, holds the planes `tensor_bgr`, `logits`, and `alpha` or `labels`, each
as it lay in the slot, at the engine's size with its bars. The trap: that is about a megabyte a frame.
"""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from engines.names import resolve
from pipeline.errors import SinkError
from pipeline.frame import Frame
from pipeline.settings import Settings
from pipeline.stages import PlainStage, StageContext

__all__ = ["Tap"]


class Tap(PlainStage):
    """Changes nothing; stands right before render. With it in the corridor, segment gives its logits too."""

    reads: ClassVar[frozenset[str]] = frozenset({"tensor_bgr", "logits", "alpha", "labels"})
    needs_format: ClassVar[bool] = False

    def __init__(self, context: StageContext) -> None:
        super().__init__(context)
        self._folder = Path(context.options["tap"]).expanduser()
        try:
            self._folder.mkdir(exist_ok=True)
        except OSError as error:
            raise SinkError(f"tap {self._folder}: cannot be made ({error.strerror}); name a folder of yours") from error
        self._planes: tuple[str, ...] = ()

    def prepare(self, settings: Settings) -> tuple[str, ...]:
        """Learn which planes this engine fills."""
        return ("tensor_bgr", "logits", *resolve(settings.engine).output.mask_planes)

    def use(self, prepared: Any) -> None:
        """Follow another engine from the next frame on."""
        self._planes = prepared

    def process(self, frame: Frame) -> None:
        """One file."""
        path = self._folder / f"{frame.ticket.stream}-{frame.ticket.sequence:06d}.npz"
        try:
            planes: dict[str, Any] = {name: frame.plane(name) for name in self._planes}
            np.savez(path, **planes)
        except OSError as error:
            raise SinkError(f"tap {path}: {error.strerror}; the frames before it are kept") from error
