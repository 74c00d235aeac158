"""Works on the logits before they become a mask: steadied over time, sharpened by a dense CRF, each when asked for.

The order is segment, temporal fusion, CRF. Under live pacing a CRF that cannot hold the sources' rate gives way to a
lighter method, and at last to none; it does not come back, so that a picture never changes to and fro. The trap: the
fusion remembers frames, and what it remembers belongs to one stream, one engine and one shot; `_Memory` says when it
ends.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from engines.crf.memory import Memory
from engines.crf_gate import gate_of
from engines.names import resolve
from engines.spec import EngineSpec
from engines.temporal import TemporalFusion
from engines.temporal.masks import MaskWriter
from pipeline.frame import Frame, Ticket, TicketFlag
from pipeline.settings import Settings
from pipeline.stages import PlainStage, StageContext
from pipeline.step_down import Pace, TooSlow, rungs_of

if TYPE_CHECKING:
    from engines.crf import CrfParams
    from engines.crf.stream import StreamCrf

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
        self._spec: EngineSpec | None = None
        self._crf = _Crf(())
        self._crfs: dict[str, _Crf] = {}
        self._pace = Pace()
        self._clock_ns = time.monotonic_ns
        self._writer: MaskWriter | None = None
        self._memories: dict[int, _Memory] = {}

    def prepare(self, settings: Settings) -> "_Prepared":
        """Learn the engine's classes, and with `crf: auto` what its manifest says of a CRF."""
        spec = resolve(settings.engine)
        key = repr(spec)  # an engine has several names
        crf = self._crfs.get(key)
        if crf is None:
            crf = self._crfs[key] = _crf_of(spec, self.context)
        return _Prepared(spec, crf)

    def use(self, prepared: Any) -> None:
        """Follow another engine from the next frame on; its logits mean something else, so memory ends."""
        if prepared.spec != self._spec:
            self._memories.clear()
            self._writer = MaskWriter(prepared.spec.output)
            self._pace.start_anew()
            if prepared.crf.why and self._spec is not None:
                self._tell("CRF of the engine", f"{prepared.spec.label}: {prepared.crf.why}")
        self._spec, self._crf = prepared.spec, prepared.crf

    def keep(self, prepared: Sequence[Any]) -> None:
        """Forget the CRFs of engines that no settings use any more."""
        kept = {id(one.crf) for one in prepared}
        self._crfs = {engine: crf for engine, crf in self._crfs.items() if id(crf) in kept}

    def process(self, frame: Frame) -> None:
        """Steady the logits, sharpen them, write the mask; look whether that was quick enough."""
        began_ns = self._clock_ns()
        self._write_mask(frame)
        if self.context.pacing == "live" and self._crf.solver is not None:
            ticket = frame.ticket
            seen = self._pace.look(ticket.stream, ticket.sequence, frame.captured_ns, began_ns, self._clock_ns())
            if seen is not None:
                self._step_down(seen)

    def _write_mask(self, frame: Frame) -> None:
        assert self._spec is not None, "use() comes before the first frame"
        logits, tensor_bgr = frame.plane("logits"), frame.plane("tensor_bgr")
        memory = self._memories.get(frame.ticket.stream)
        if memory is None:
            memory = self._memories[frame.ticket.stream] = _Memory(self._stability)
        memory.look_at(frame.ticket)
        steady = memory.fusion.fuse(logits, tensor_bgr)
        output = self._spec.output
        if self._crf.solver is None:
            assert self._writer is not None, "use() makes the writer"
            if "alpha" in output.mask_planes:
                self._writer.alpha(steady, frame.plane("alpha"))
            if "labels" in output.mask_planes:
                self._writer.labels(steady, frame.plane("labels"))
            return
        # `exact` is the same for a frame whatever came before it.
        past = memory.crf if self._crf.solver.method == "fast" else None
        probs = self._crf.solver.refine(steady, tensor_bgr, past)
        if "alpha" in output.mask_planes:
            np.copyto(frame.plane("alpha"), probs[output.subject] * 255.0 + 0.5, casting="unsafe")
        if "labels" in output.mask_planes:
            frame.plane("labels")[...] = probs.argmax(axis=0)

    def _step_down(self, seen: TooSlow) -> None:
        before, after = self._crf.step_down()
        self._tell(
            "CRF stepped down",
            f"{before} to {after}: refine took {seen.work_ms:.0f} ms a frame, "
            f"and one comes every {seen.interval_ms:.1f} ms",
        )

    def _tell(self, what: str, why: str) -> None:
        self.context.tell({"type": "event", "what": what, "why": why})


class _Crf:
    """The CRF of one engine, and the lighter methods that are left below it; without any it is off."""

    def __init__(self, rungs: "Sequence[tuple[str, StreamCrf]]", why: str = "") -> None:
        self._rungs = list(rungs)
        self.why = why
        """What the manifest says, where that was asked for."""

    @property
    def solver(self) -> "StreamCrf | None":
        """None: off."""
        return self._rungs[0][1] if self._rungs else None

    def step_down(self) -> tuple[str, str]:
        """Give up the present method; returns its name and that of the next one."""
        before, _ = self._rungs.pop(0)
        return before, self._rungs[0][0] if self._rungs else "off"


@dataclass(frozen=True, eq=False)
class _Prepared:
    """What one engine's frames need."""

    spec: EngineSpec
    crf: _Crf


class _Memory:
    """What is remembered of one stream."""

    def __init__(self, stability: float) -> None:
        self.fusion = TemporalFusion(stability)
        self.crf = Memory()
        self._sequence: int | None = None

    def look_at(self, ticket: Ticket) -> None:
        """Forget when this frame does not follow the last one: dropped frames, a source reopened, time gone back."""
        before, self._sequence = self._sequence, ticket.sequence
        if before is not None and 0 < ticket.sequence - before <= LARGEST_GAP + 1 and not ticket.flags & TicketFlag.GAP:
            return
        self.fusion.reset()
        self.crf.reset()


def _crf_of(spec: EngineSpec, context: StageContext) -> _Crf:
    method, why = context.options.get("crf", "off"), ""
    if method == "off":
        return _Crf(())
    params: str | CrfParams
    if method == "auto":
        gate = gate_of(spec)
        if gate.setting is None:
            return _Crf((), gate.why)
        params, iterations, method, why = gate.setting.params, gate.setting.iterations, gate.setting.method, gate.why
    else:
        params, iterations = context.options["crf_params"], context.options["crf_iterations"]
    from engines.crf.stream import StreamCrf  # numpy only until it is made; numba or pydensecrf inside

    rungs = [(rung, StreamCrf(params, iterations, rung)) for rung in rungs_of(method, context.pacing)]
    for _, solver in rungs:
        _warm_up(solver, len(spec.output.classes))
    return _Crf(rungs, why)


def _warm_up(solver: "StreamCrf", n_classes: int) -> None:
    """Load the compiled kernels now, on a tiny picture; at the first frame a stream would stand still for it."""
    from engines.crf.warm import example

    solver.refine(*example(n_classes))
