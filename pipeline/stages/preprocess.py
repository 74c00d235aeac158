"""Brings a frame to the engine's size; colour order and normalisation are inside the engine's graph."""

from collections.abc import Mapping
from typing import Any, ClassVar

from engines.geometry import Geometry, fit, resize_into
from engines.names import resolve
from pipeline.frame import Frame, StreamFormat
from pipeline.settings import Settings
from pipeline.stages import PlainStage, StageContext

__all__ = ["Preprocess"]


class Preprocess(PlainStage):
    """Resize by the engine's resize rule, straight from plane to plane."""

    reads: ClassVar[frozenset[str]] = frozenset({"image_bgr"})
    writes: ClassVar[frozenset[str]] = frozenset({"tensor_bgr"})

    def __init__(self, context: StageContext) -> None:
        super().__init__(context)
        self._formats: Mapping[int, StreamFormat] = {}
        self._geometry: dict[int, Geometry] = {}

    def begin(self, formats: Mapping[int, StreamFormat]) -> None:
        """Remember the frame sizes."""
        self._formats = formats

    def prepare(self, settings: Settings) -> dict[int, Geometry]:
        """Place each stream's frames into this engine's input."""
        spec = resolve(settings.engine).input
        return {stream: fit(format.height, format.width, spec) for stream, format in self._formats.items()}

    def use(self, prepared: Any) -> None:
        """Follow another engine's input from the next frame on."""
        self._geometry = prepared

    def process(self, frame: Frame) -> None:
        """`image_bgr` to `tensor_bgr`, on a device where the engine is."""
        geometry = self._geometry[frame.ticket.stream]
        if self.context.on_device is not None and self.context.on_device.take(frame, geometry):
            return
        resize_into(frame.plane("image_bgr"), geometry, frame.plane("tensor_bgr"))
