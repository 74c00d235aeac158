"""Works on the logits before they become a mask: steadied over time, sharpened by a dense CRF, each when asked for.

The order is segment, temporal fusion, CRF. The trap: the fusion remembers frames, and what it remembers belongs to one
stream, one engine and one shot; `_Memory` says when it ends.
"""

from typing import Any, ClassVar

import numpy as np

from engines.names import resolve
from engines.spec import EngineSpec
from engines.temporal import TemporalFusion
from engines.temporal.masks import MaskWriter
from pipeline.frame import Frame, Ticket, TicketFlag
from pipeline.settings import Settings
from pipeline.stages import PlainStage, StageContext

__all__ = ["Refine"]

LARGEST_GAP = 3
"""Frames that may have been dropped between two; after more the picture before says too little about this one."""


class Refine(PlainStage):
    """`logits` and `tensor_bgr` to `alpha` and `labels`, at the engine's size."""

    reads: ClassVar[frozenset[str]] = frozenset({"tensor_bgr", "logits"})
    writes: ClassVar[frozenset[str]] = frozenset({"alpha", "labels"})
    needs_format: ClassVar[bool] = False

    def __init__(self, context: StageContext) -> None:
        super().__init__(context)
        self._stability = float(context.options.get("stability", 0.0))
        self._crf = _crf(context)
        self._spec: EngineSpec | None = None
        self._writer: MaskWriter | None = None
        self._memories: dict[int, _Memory] = {}

    def prepare(self, settings: Settings) -> EngineSpec:
        """Learn the engine's classes."""
        return resolve(settings.engine)

    def use(self, prepared: Any) -> None:
        """Follow another engine from the next frame on; its logits mean something else, so memory ends."""
        if prepared != self._spec:
            self._memories.clear()
            self._writer = MaskWriter(prepared.output)
        self._spec = prepared

    def process(self, frame: Frame) -> None:
        """Steady the logits, sharpen them, write the mask."""
        assert self._spec is not None, "use() comes before the first frame"
        logits, tensor_bgr = frame.plane("logits"), frame.plane("tensor_bgr")
        memory = self._memories.get(frame.ticket.stream)
        if memory is None:
            memory = self._memories[frame.ticket.stream] = _Memory(self._stability)
        memory.look_at(frame.ticket)
        steady = memory.fusion.fuse(logits, tensor_bgr)
        output = self._spec.output
        if self._crf is None:
            assert self._writer is not None, "use() makes the writer"
            if "alpha" in output.mask_planes:
                self._writer.alpha(steady, frame.plane("alpha"))
            if "labels" in output.mask_planes:
                self._writer.labels(steady, frame.plane("labels"))
            return
        probs = self._crf.refine(steady, tensor_bgr)
        if "alpha" in output.mask_planes:
            np.copyto(frame.plane("alpha"), probs[output.subject] * 255.0 + 0.5, casting="unsafe")
        if "labels" in output.mask_planes:
            frame.plane("labels")[...] = probs.argmax(axis=0)


class _Memory:
    """What is remembered of one stream."""

    def __init__(self, stability: float) -> None:
        self.fusion = TemporalFusion(stability)
        self._sequence: int | None = None

    def look_at(self, ticket: Ticket) -> None:
        """Forget when this frame does not follow the last one: dropped frames, a source reopened, time gone back."""
        before, self._sequence = self._sequence, ticket.sequence
        if before is not None and 0 < ticket.sequence - before <= LARGEST_GAP + 1 and not ticket.flags & TicketFlag.GAP:
            return
        self.fusion.reset()


def _crf(context: StageContext) -> Any:
    method = context.options.get("crf", "off")
    if method == "off":
        return None
    from engines.crf.stream import StreamCrf  # numpy only until it is made; numba or pydensecrf inside

    return StreamCrf(context.options["crf_params"], context.options["crf_iterations"], method)
