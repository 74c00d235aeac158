"""Sharpens the mask with a dense CRF before it is shown. Optional, and slow with the reference method."""

from typing import Any, ClassVar

import numpy as np

from engines.names import resolve
from engines.spec import EngineSpec
from pipeline.frame import Frame
from pipeline.settings import Settings
from pipeline.stages import PlainStage, StageContext

__all__ = ["Refine"]


class Refine(PlainStage):
    """`logits` and `tensor_bgr` to `alpha` and `labels`, at the engine's size."""

    reads: ClassVar[frozenset[str]] = frozenset({"tensor_bgr", "logits"})
    writes: ClassVar[frozenset[str]] = frozenset({"alpha", "labels"})
    needs_format: ClassVar[bool] = False

    def __init__(self, context: StageContext) -> None:
        super().__init__(context)
        from engines.crf import ReferenceCrf, params_of  # numpy only until it is made; pydensecrf inside

        params = params_of(context.options["crf_params"])
        self._crf = ReferenceCrf(params, iterations=context.options["crf_iterations"])
        self._spec: EngineSpec | None = None

    def prepare(self, settings: Settings) -> EngineSpec:
        """Learn the engine's classes."""
        return resolve(settings.engine)

    def use(self, prepared: Any) -> None:
        """Follow another engine from the next frame on."""
        self._spec = prepared

    def process(self, frame: Frame) -> None:
        """Mean field on one frame; nothing is remembered from the frame before."""
        assert self._spec is not None, "use() comes before the first frame"
        probs = self._crf.refine(frame.plane("logits"), frame.plane("tensor_bgr"))
        output = self._spec.output
        if output.subject is not None:
            np.copyto(frame.plane("alpha"), probs[output.subject] * 255.0 + 0.5, casting="unsafe")
        if output.subject is None or len(output.classes) > 2:
            frame.plane("labels")[...] = probs.argmax(axis=0)
