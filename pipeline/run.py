"""A run made concrete: what the options leave open is chosen here, and said with its reason.

Everything a person may have mistyped is looked at before any process starts.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from configs import ConfigError, near_matches
from engines.crf import METHODS, unavailable_reason
from engines.crf_gate import Gate, gate_of
from engines.errors import BackendUnavailable, EngineMismatch
from engines.machine import usable_cores
from engines.names import resolve
from engines.plans.library import LIBRARIES
from engines.runtime import BACKENDS
from pipeline.config import RunConfig
from pipeline.effects import EFFECTS, effect_from_text
from pipeline.settings import Settings
from pipeline.sinks import default_sink, sink_from_text
from pipeline.sources import Wanted, source_from_uri
from pipeline.step_down import rungs_of
from pipeline.topology import Topology, WorkerPlan, engine_threads, plan, standby_plan

__all__ = ["Run", "check_outputs", "inputs_of", "outputs_of", "prepare", "ready_crf"]

_WRITES = ("file", "jsonl")
"""Sinks that write one file."""
_SHOWS = ("window", "browser")
"""Sinks that a person watches: they make a run live."""


@dataclass(frozen=True)
class Run:
    """Options, chosen and checked."""

    config: RunConfig
    topology: Topology
    pacing: str
    why_pacing: str
    sinks: tuple[tuple[str, ...], ...]
    """For each stream."""
    engines: tuple[str, ...]
    """The first one and those that may be swapped in."""
    settings: Settings
    n_threads: int
    standby: WorkerPlan | None = None
    """The worker that has a warm replacement."""
    gates: Mapping[str, Gate] = field(default_factory=dict)
    """With `--crf auto`: what each engine's manifest says."""

    @property
    def crf_methods(self) -> tuple[str, ...]:
        """Every method that the run may come to use, lighter ones to step down to included."""
        asked: list[str] = [gate.setting.method for gate in self.gates.values() if gate.setting is not None]
        if self.config.crf.method not in ("off", "auto"):
            asked = [self.config.crf.method]
        return tuple(dict.fromkeys(rung for method in asked for rung in rungs_of(method, self.pacing)))

    @property
    def crf_told(self) -> list[str]:
        """A line for each engine, with the reason; none unless asked for `auto`."""
        return [f"crf auto, {engine}: {gate.why}" for engine, gate in self.gates.items()]

    def job(
        self, worker: WorkerPlan, incarnation: int, *, settings: Settings, folder: str, status: str, control: str
    ) -> dict[str, Any]:
        """All that a worker process is told at its start."""
        crf = self.config.crf
        return {
            "name": worker.name,
            "index": worker.index,
            "incarnation": incarnation,
            "stages": list(worker.stages),
            "streams": list(worker.streams),
            "next": worker.next,
            "home": worker.home,
            "config": self.config.model_dump(mode="json"),
            "pacing": self.pacing,
            "n_threads": self.n_threads,
            "diary": list(self.topology.diary),
            "settings": settings.to_json(),
            "folder": folder,
            "status": status,
            "control": control,
            "opencv_threads": 1 if usable_cores() <= 4 else 2,
            "options": {
                "sinks": [list(texts) for texts in self.sinks],
                "engines": list(self.engines),
                "effects": sorted(EFFECTS),
                "crf": crf.method,
                "crf_params": crf.preset,
                "crf_iterations": crf.iterations,
                "stability": self.config.stability,
                "tap": self.config.tap,
                "arithmetic": self.config.arithmetic,
                "build": self.config.build,
                "batch": self.config.batch.max,
                "expects_gpu": self.config.placement == "auto" and self.topology.placement.kind == "fused",
                "codec": self.config.codec,
            },
        }


def prepare(config: RunConfig) -> Run:
    """Check the options of a run and choose what they leave open.

    Raises:
        ConfigError: something that cannot be as it is written.
        EngineError: an engine that is not there or does not fit its manifest.
    """
    if not config.streams:
        raise ConfigError("no source; name one, such as: run_stream.py run demo (list shows them all)")
    wanted = Wanted.from_text(config.size) if config.size else Wanted()
    kinds = [source_from_uri(stream.source, wanted=wanted) for stream in config.streams]
    sinks = tuple(_sinks(stream.sinks, number) for number, stream in enumerate(config.streams))
    effects = tuple(stream.effect or config.effect for stream in config.streams)
    for text in effects:
        effect_from_text(text)
    engines = tuple(dict.fromkeys((config.engine, *config.engines)))
    for engine in engines:
        if (spec := resolve(engine)).batch != 1:
            raise EngineMismatch(
                f"{spec.label} takes {spec.batch} pictures a call; a stream takes one, or any: export it with --batch "
                "1, or any"
            )
    if config.backend not in ("auto", *BACKENDS):
        raise ConfigError(f"no backend {config.backend!r}; {near_matches(config.backend, ['auto', *BACKENDS])}")
    check_outputs(outputs_of(sinks), inputs_of(config, effects))
    gates = {engine: gate_of(resolve(engine)) for engine in engines} if config.crf.method == "auto" else {}
    if gates and all(gate.setting is None for gate in gates.values()):
        config = _without_crf(config)
    pacing, why = _pacing(config, [kind.is_live for kind in kinds], sinks)
    topology = plan(config, len(config.streams))
    return Run(
        config=config,
        topology=topology,
        standby=standby_plan(topology) if config.restart.standby else None,
        pacing=pacing,
        why_pacing=why,
        sinks=sinks,
        engines=engines,
        settings=Settings(
            0, config.engine, effects, config.strength, matte=config.matte, backends=_until_built(config, engines)
        ),
        n_threads=engine_threads(config, live=pacing == "live"),
        gates=gates,
    )


def ready_crf(methods: Collection[str], say: Callable[[str], None]) -> None:
    """Make sure that the CRF of a run can start within the time that workers have.

    Raises:
        BackendUnavailable: what a method needs is not installed, or cannot be compiled.
    """
    for method in methods:
        if (reason := unavailable_reason(method)) is not None:
            raise BackendUnavailable(f"--crf {method}: {reason}")
    if any(METHODS[method].needs == "numba" for method in methods):
        from engines.crf.warm import compile_in_a_process, is_compiled

        if not is_compiled():
            say("the dense CRF is compiled for this machine, once; that takes about a minute")
            compile_in_a_process()


def _until_built(config: RunConfig, engines: tuple[str, ...]) -> dict[str, str]:
    """Engines whose plan is to be built beside the stream though their backend was named: until then any will do."""
    if config.build != "background" or config.backend not in LIBRARIES:
        return {}
    from engines.plans.missing import missing_plan

    plans = {engine: missing_plan(resolve(engine), config.backend, config.arithmetic)[0] for engine in engines}
    return {engine: "auto" for engine, plan in plans.items() if plan is not None}


def _without_crf(config: RunConfig) -> RunConfig:
    """No refine worker where it would have nothing to do, unless somebody named it."""
    if any("refine" in group for group in config.workers):
        return config
    return config.model_copy(update={"crf": config.crf.model_copy(update={"method": "off"})})


def _sinks(texts: tuple[str, ...], number: int) -> tuple[str, ...]:
    chosen = texts or (default_sink(),)
    for text in chosen:
        sink_from_text(text)
    return tuple(text.replace("{stream}", str(number)) for text in chosen)


def _pacing(config: RunConfig, are_live: list[bool], sinks: tuple[tuple[str, ...], ...]) -> tuple[str, str]:
    if config.pacing != "auto":
        return config.pacing, "asked for"
    if any(are_live):
        return "live", "a camera does not wait"
    watched = [text for texts in sinks for text in texts if text.partition(":")[0] in _SHOWS]
    if watched:
        return "live", f"somebody watches ({watched[0]})"
    return "lossless", "a file, and nobody watches"


def outputs_of(sinks: tuple[tuple[str, ...], ...]) -> list[tuple[str, Path]]:
    """Every file that the sinks write, with the words that named it."""
    texts = [text for row in sinks for text in row]
    return [(text, Path(text.partition(":")[2])) for text in texts if text.partition(":")[0] in _WRITES]


def inputs_of(config: RunConfig, effects: tuple[str, ...]) -> list[tuple[str, Path]]:
    """Every file that the run reads, with the words that named it."""
    named = [(stream.source, stream.source) for stream in config.streams]
    named += [(text, text.partition(":")[2]) for text in effects]
    return [(text, Path(path)) for text, path in named if path and _is_file(Path(path))]


def check_outputs(outputs: list[tuple[str, Path]], inputs: list[tuple[str, Path]]) -> None:
    """Refuse to write over what is read, or one file twice.

    Raises:
        ConfigError: two names for one file.
    """
    seen = {path.expanduser().resolve(): text for text, path in inputs}
    for text, path in outputs:
        place = path.expanduser().resolve()
        if place in seen:
            raise ConfigError(f"{text}: the same file as {seen[place]}; write to another")
        seen[place] = text


def _is_file(path: Path) -> bool:
    try:
        return path.expanduser().is_file()
    except OSError:
        return False
