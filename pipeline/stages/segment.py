"""Runs the engine from plane to plane. The only stage that needs a backend's library."""

from collections.abc import Sequence
from typing import Any, ClassVar

from engines.names import resolve
from engines.runtime import Engine, open_engine
from engines.spec import OutputSpec
from pipeline.frame import Frame
from pipeline.settings import Settings
from pipeline.stages import PlainStage, StageContext

__all__ = ["Segment"]


class Segment(PlainStage):
    """`tensor_bgr` to `alpha` or `labels`, or to `logits` when refine follows.

    A new engine is opened in `prepare` while the old one serves; the old one is closed when no frame
    of its epoch can come any more.
    """

    reads: ClassVar[frozenset[str]] = frozenset({"tensor_bgr"})
    writes: ClassVar[frozenset[str]] = frozenset({"alpha", "labels", "logits"})
    needs_format: ClassVar[bool] = False

    def __init__(self, context: StageContext) -> None:
        super().__init__(context)
        self._opened: dict[str, Engine] = {}
        self._engine: Engine | None = None
        self._outputs: tuple[str, ...] = ()

    def prepare(self, settings: Settings) -> Engine:
        """Open and warm the engine unless it is open already."""
        found = self._opened.get(settings.engine)
        if found is not None:
            return found
        spec = resolve(settings.engine)
        engine = open_engine(
            spec,
            backend=self.context.backend,
            outputs=outputs_wanted(spec.output, self.context.options),
            n_threads=self.context.n_threads,
            precision_hint=self.context.options.get("arithmetic", "auto"),
        )
        engine.__enter__()
        self._opened[settings.engine] = engine
        return engine

    def use(self, prepared: Any) -> None:
        """Serve with this engine from the next frame on."""
        engine: Engine = prepared
        self._engine = engine
        output = engine.spec.output
        self._outputs = outputs_wanted(output, self.context.options)
        told = {"engine": engine.spec.label, "backend": engine.backend, "choice": engine.choice}
        self.context.tell({"type": "engine", **told})

    def keep(self, prepared: Sequence[Any]) -> None:
        """Close the engines that no settings use any more."""
        for name, opened in list(self._opened.items()):
            if not any(opened is engine for engine in prepared):
                del self._opened[name]
                opened.__exit__(None, None, None)

    def process(self, frame: Frame) -> None:
        """One inference, straight into the slot."""
        assert self._engine is not None, "use() comes before the first frame"
        outputs = {name: frame.plane(name)[None] for name in self._outputs}
        self._engine.infer({"image_bgr": frame.plane("tensor_bgr")[None]}, outputs)

    def close(self) -> None:
        """Close every engine that is open."""
        for engine in self._opened.values():
            engine.__exit__(None, None, None)
        self._opened.clear()


def outputs_wanted(output: OutputSpec, options: Any) -> tuple[str, ...]:
    """Which planes the engine writes: what the next stage reads, and no more."""
    if options.get("crf", "off") != "off" or options.get("stability", 0.0) > 0:
        return ("logits",)
    logits = ("logits",) if options.get("tap") else ()
    return (*logits, *output.mask_planes)
