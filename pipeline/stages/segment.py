"""Runs the engine from plane to plane. The only stage that needs a backend's library."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from engines.errors import BackendUnavailable, DeviceLost, EngineError
from engines.names import resolve
from engines.plans.missing import missing_plan
from engines.runtime import Engine, open_engine
from engines.runtime.overlap import IN_FLIGHT, N_SETS, Call, Overlap
from engines.runtime.trial import try_out
from engines.spec import EngineSpec, OutputSpec
from pipeline.frame import Frame
from pipeline.settings import Settings
from pipeline.stacked import Stacked
from pipeline.stages import PlainStage, StageContext

__all__ = ["Segment"]

_LOOK_S = 0.1
"""How often a call that is waited for is looked at."""


@dataclass(frozen=True)
class Opened:
    """An engine that is open, and what it would be better with."""

    opening: tuple[str, str]
    engine: Engine
    plan: dict[str, str] | None
    """The plan that TensorRT lacks to run it instead, if that is to be built."""
    overlap: Overlap | None
    """Where its calls may overlap."""


class Segment(PlainStage):
    """`tensor_bgr` to `alpha` or `labels`, or to `logits` when refine follows.

    A new engine is opened and tried out in `prepare` while the old one serves; the old one is closed when no frame
    of its epoch can come any more. Frames of several streams go to the engine in one call where it takes more than one.
    On a GPU two frames of one stream are under way at once.
    """

    reads: ClassVar[frozenset[str]] = frozenset({"tensor_bgr"})
    writes: ClassVar[frozenset[str]] = frozenset({"alpha", "labels", "logits"})
    needs_format: ClassVar[bool] = False

    def __init__(self, context: StageContext) -> None:
        super().__init__(context)
        self._opened: dict[tuple[str, str], Opened] = {}
        self._specs: dict[str, EngineSpec] = {}
        self._engine: Engine | None = None
        self._outputs: tuple[str, ...] = ()
        self._stacked: Stacked | None = None
        self._overlap: Overlap | None = None
        self._flying: deque[tuple[Frame, Call]] = deque()
        """Under way, in order."""

    def prepare(self, settings: Settings) -> Opened:
        """Open the engine and try it out, unless it is open already.

        Raises:
            EngineError: it cannot be opened, or what it answers is not what it promises.
        """
        found = self._opened.get(settings.opening)
        if found is not None:
            return found
        name = settings.engine
        # Once for all openings: planes are laid out by it, so an engine that is exported anew meanwhile is refused.
        spec = self._specs[name] = self._specs.get(name) or resolve(name)
        engine = self._open(spec, settings.opening)
        plan, overlap = self._missing_plan(name, spec), self._overlapping(engine, settings.opening)
        made = self._opened[settings.opening] = Opened(settings.opening, engine, plan, overlap)
        return made

    def use(self, prepared: Any) -> None:
        """Serve with this engine from the next frame on."""
        opened: Opened = prepared
        engine = opened.engine
        output = engine.spec.output
        self._outputs = outputs_wanted(output, self.context.options)
        self.batch = min(engine.max_batch, len(self.context.streams))
        if self.context.on_device is not None:
            self.context.on_device.serve(opened.opening)
        if engine is not self._engine:
            if engine.on_gpu:
                self.context.lock_memory()
            self._engine = engine
            self._stacked = Stacked(engine, self._outputs) if self.batch > 1 else None
            self._overlap = opened.overlap
            self.in_flight = 1 if self._overlap is None else IN_FLIGHT
            if self.context.options.get("expects_gpu") and not engine.on_gpu:
                why = "stages share a worker because a GPU was expected; on this processor --placement split is faster"
                self.context.tell({"type": "event", "what": "no GPU serves", "why": why})
        told = {"engine": engine.spec.label, "backend": engine.backend, "choice": engine.choice, "plan": opened.plan}
        self.context.tell({"type": "engine", **told})

    def keep(self, prepared: Sequence[Any]) -> None:
        """Close the engines that no settings use any more."""
        for key, opened in list(self._opened.items()):
            if not any(opened is kept for kept in prepared):
                self.settle()
                del self._opened[key]
                self._shut(opened)

    def submit(self, frames: Sequence[Frame]) -> None:
        """One inference for as many frames as the engine takes in a call."""
        if self._overlap is not None:
            for frame in frames:
                while len(self._flying) >= N_SETS:  # the next call would wait for the first, however long
                    self._land_first()
                self._flying.append((frame, self._begun(self._overlap, frame)))
            return
        self.settle()  # of the engine before, which was faster to begin than to end
        if self._stacked is None or len(frames) == 1:
            super().submit(frames)
            return
        for start in range(0, len(frames), self.batch):  # more than a batch came before a smaller engine was swapped in
            batch = frames[start : start + self.batch]
            self._stacked.infer(batch)
            self._done += batch

    def finished(self) -> Iterator[Frame]:
        """The frames that are done, in order.

        Raises:
            EngineError, DeviceLost: one of those under way failed, or takes longer than any work may.
        """
        while self._flying and self._flying[0][1].is_done:
            self._land()
        self._look_for_hung()
        return super().finished()

    def settle(self) -> None:
        """Wait for the calls under way; raises what `finished` raises."""
        while self._flying:
            self._land_first()

    def process(self, frame: Frame) -> None:
        """One inference, straight into the slot, or where the frame lies on a device."""
        if frame.seat is not None:
            frame.seat.planes.infer(frame.seat, self._outputs)
            return
        assert self._engine is not None, "use() comes before the first frame"
        outputs = {name: frame.plane(name)[None] for name in self._outputs}
        self._engine.infer({"image_bgr": frame.plane("tensor_bgr")[None]}, outputs)

    def close(self) -> None:
        """Close every engine that is open, unless their GPU is lost."""
        if self.context.is_device_lost:
            return  # and they are not forgotten: their libraries would give back what they have
        for opened in self._opened.values():
            self._shut(opened)
        self._opened.clear()

    def _shut(self, opened: Opened) -> None:
        if self.context.on_device is not None:
            self.context.on_device.close(opened.opening)
        if opened.overlap is not None:
            opened.overlap.close()  # waits for what is under way
        opened.engine.__exit__(None, None, None)

    def _begun(self, overlap: Overlap, frame: Frame) -> Call:
        return overlap.submit(frame.plane("tensor_bgr"), {name: frame.plane(name) for name in self._outputs})

    def _land(self) -> None:
        frame, call = self._flying.popleft()
        call.check()
        self._done.append(frame)

    def _land_first(self) -> None:
        while not self._flying[0][1].done.wait(_LOOK_S):
            self.context.beat()
            self._look_for_hung()
        self._land()

    def _look_for_hung(self) -> None:
        if self._flying:
            for opened in list(self._opened.values()):  # another thread may be opening one
                if opened.overlap is not None:
                    opened.overlap.check(self.context.work_timeout_s)

    def _overlapping(self, engine: Engine, opening: tuple[str, str]) -> Overlap | None:
        """For frames that come one by one and lie on the host; several streams are taken together instead."""
        stays_there = self.context.on_device is not None and self.context.on_device.keeps(opening)
        if not engine.on_gpu or stays_there or len(self.context.streams) > 1:
            return None
        try:
            return engine.overlap(self.context.wake)
        except DeviceLost:
            raise
        except EngineError:
            return None  # no memory for three more pictures: one call after the other needs none

    def _open(self, spec: EngineSpec, opening: tuple[str, str]) -> Engine:
        is_first, backend = not self._opened, opening[1]
        if is_first and self.context.backend == "auto":
            backend = "auto"  # after a restart: nothing serves meanwhile, so whatever opens is better than a refusal
        without = self.context.options.get("without", {})
        if backend in without:
            raise BackendUnavailable(f"{spec.label}: {without[backend]}")
        engine = open_engine(
            spec,
            backend=backend or self.context.backend,
            without=without,
            outputs=outputs_wanted(spec.output, self.context.options),
            # On the device one kernel makes the masks from logits, without a class at full size.
            lent_outputs=("logits",) if self.context.on_device is not None else None,
            n_threads=self.context.n_threads,
            precision_hint=self.context.options.get("arithmetic", "auto"),
            max_batch=batch_wanted(len(self.context.streams), self.context.options),
        )
        engine.__enter__()
        try:
            if not is_first:  # at the start the first frame is the trial, and nobody waits for another
                try_out(engine)
            if self.context.on_device is not None:
                self.context.on_device.open(opening, engine)
        except DeviceLost:
            raise  # nothing can be given back to a GPU that is lost
        except BaseException:
            engine.__exit__(None, None, None)
            raise
        return engine

    def _missing_plan(self, engine: str, spec: EngineSpec) -> dict[str, str] | None:
        if self.context.options.get("build", "never") != "background":
            return None
        hint = self.context.options.get("arithmetic", "auto")
        plan, _ = missing_plan(spec, self.context.backend, hint)
        if plan is not None and plan.backend in self.context.options.get("without", {}):
            return None
        return None if plan is None else {"name": engine, **asdict(plan)}


def batch_wanted(n_streams: int, options: Any) -> int | None:
    """Frames a call at most; None: as many as make it faster on the engine's backend."""
    if n_streams == 1:
        return 1
    asked = int(options.get("batch", 0))
    return min(asked, n_streams) if asked else None


def outputs_wanted(output: OutputSpec, options: Any) -> tuple[str, ...]:
    """Which planes the engine writes: what the next stage reads, and no more."""
    if options.get("crf", "off") != "off" or options.get("stability", 0.0) > 0:
        return ("logits",)
    logits = ("logits",) if options.get("tap") else ()
    return (*logits, *output.mask_planes)
