"""One step of the corridor each: code, not processes. A worker runs one stage or a few neighbours.

A stage reads and writes planes of a frame and knows nothing of sockets, slots or other stages.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

from configs import ConfigError, near_matches
from pipeline.frame import Frame, StreamFormat
from pipeline.settings import Settings
from pipeline.timing import Ledger

if TYPE_CHECKING:
    from pipeline.on_device import OnDevice

__all__ = ["STAGES", "PlainStage", "Stage", "StageContext", "open_stage"]


@dataclass
class StageContext:
    """What a worker tells its stages about the run."""

    streams: tuple[int, ...]
    """Numbers of the streams whose frames come by."""
    pacing: str
    """`live` or `lossless`."""
    n_threads: int
    """Processors that the engine may use."""
    backend: str
    options: Mapping[str, Any]
    """The run's options that belong to stages: sinks per stream, crf parameters, alternatives to swap in."""
    tell: Callable[[dict[str, Any]], None]
    """Sends an event or a command to the supervisor; from the worker's main thread only."""
    wake: Callable[[], None]
    """Wakes the worker's loop, from any thread."""
    beat: Callable[[], None]
    """Says that the worker lives; to be called while the main thread waits for something slow."""
    ledgers: dict[int, Ledger] = field(default_factory=dict)
    part: int = 0
    """How often this worker was restarted."""
    on_device: "OnDevice | None" = None
    """Where planes may stay on a device from stage to stage; None: in the slots."""
    work_timeout_s: float = 20.0
    """A call on a device that takes longer is taken for hung, and the device for lost."""
    is_device_lost: bool = False
    """Set before the stages are closed: nothing is given back to it, for a call might never return."""
    lock_memory: Callable[[], None] = lambda: None
    """Says that a GPU reads and writes the slots from now on: they are page-locked once, as well as can be."""


class Stage(Protocol):
    """Opened once, fed frames, closed once.

    Settings come in two steps: `prepare` may be slow and runs beside the frames (an engine is
    opened there), `use` is quick and happens at a frame boundary.
    """

    reads: ClassVar[frozenset[str]]
    writes: ClassVar[frozenset[str]]
    needs_format: ClassVar[bool]
    """False: `prepare` can run before the stream's format is known, which shortens the start."""
    tail: ClassVar[str]
    """Name in the diary of the time between `submit` returning and the frame being finished; mostly none."""
    in_flight: int
    """Frames it may hold at once."""
    batch: int
    """Frames of different streams that it would rather take at once, `in_flight` or not; mostly 1."""

    def begin(self, formats: Mapping[int, StreamFormat]) -> None:
        """The streams' formats are known: acquire what depends on them."""
        ...

    def prepare(self, settings: Settings) -> Any:
        """Make what these settings need, without disturbing the frames that go by."""
        ...

    def use(self, prepared: Any) -> None:
        """Treat the following frames by what `prepare` made."""
        ...

    def keep(self, prepared: Sequence[Any]) -> None:
        """Only these may still be used: give back what was prepared besides."""
        ...

    def submit(self, frames: Sequence[Frame]) -> None:
        """Take frames, in order."""
        ...

    def finished(self) -> Iterator[Frame]:
        """The frames that are done, in the order of submission."""
        ...

    def settle(self) -> None:
        """Wait until every frame taken is done: those that follow have other settings, here and in later stages."""
        ...

    def end(self, stream: int) -> bool:
        """No more frames of this stream will come; True when all that is to be closed has been closed."""
        ...

    def order(self, what: str) -> None:
        """A person's wish that is no setting, such as `snapshot`."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


class PlainStage:
    """Gives `submit` and `finished` to a stage that is a plain `process(frame)`."""

    reads: ClassVar[frozenset[str]] = frozenset()
    writes: ClassVar[frozenset[str]] = frozenset()
    needs_format: ClassVar[bool] = True
    tail: ClassVar[str] = ""
    in_flight: int = 1
    batch: int = 1

    def __init__(self, context: StageContext) -> None:
        self.context = context
        self._done: list[Frame] = []

    def process(self, frame: Frame) -> None:
        """Do the work on one frame, in place."""
        raise NotImplementedError

    def begin(self, formats: Mapping[int, StreamFormat]) -> None:
        """Nothing to acquire."""

    def prepare(self, settings: Settings) -> Any:
        """Nothing to make."""

    def use(self, prepared: Any) -> None:
        """Nothing to change."""

    def keep(self, prepared: Sequence[Any]) -> None:
        """Nothing to give back."""
        del prepared

    def submit(self, frames: Sequence[Frame]) -> None:
        """Process at once."""
        for frame in frames:
            self.process(frame)
            self._done.append(frame)

    def finished(self) -> Iterator[Frame]:
        """What was processed since the last call."""
        done, self._done = self._done, []
        return iter(done)

    def settle(self) -> None:
        """What was submitted is done."""

    def end(self, stream: int) -> bool:
        """Nothing to close for one stream."""
        del stream
        return True

    def order(self, what: str) -> None:
        """No wishes are known here."""
        del what

    def close(self) -> None:
        """Nothing to give back."""


STAGES: dict[str, str] = {
    "preprocess": "pipeline.stages.preprocess:Preprocess",
    "segment": "pipeline.stages.segment:Segment",
    "refine": "pipeline.stages.refine:Refine",
    "tap": "pipeline.stages.tap:Tap",
    "render": "pipeline.stages.render:Render",
}
"""Name in a config to `module:Class`; imported only by the worker that runs it. Capture is the
corridor's door, not a step of it: see `pipeline/stages/capture.py`. A config may name `module:Class` itself."""


def stage_class(name: str) -> type[Stage]:
    """Import a stage's class by its name in the table, or by `module:Class`.

    Raises:
        ConfigError: no such stage.
    """
    place = STAGES.get(name, name)
    module, _, attribute = place.partition(":")
    if not attribute:
        raise ConfigError(f"no stage {name!r}; {near_matches(name, ['capture', *STAGES])}")
    try:
        return cast("type[Stage]", getattr(importlib.import_module(module), attribute))
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"stage {name!r} cannot be imported: {error}") from error


def open_stage(name: str, context: StageContext) -> Stage:
    """Make a stage for a worker."""
    return cast("Callable[[StageContext], Stage]", stage_class(name))(context)
