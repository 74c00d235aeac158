"""Which worker runs what, who hands to whom, and how many slots that takes.

Refuses a wiring whose reads nobody wrote, before any process starts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from configs import ConfigError, near_matches
from engines.machine import usable_cores
from pipeline.config import RunConfig
from pipeline.errors import WiringError
from pipeline.layout import PLANES
from pipeline.placement import Placement, placement_of
from pipeline.slots import MAX_DIARY_LINES
from pipeline.stages import STAGES, stage_class

__all__ = ["Topology", "WorkerPlan", "engine_threads", "plan", "standby_plan"]

PER_STREAM = frozenset({"capture", "render"})
"""Stages that every stream has for itself: they own a source or sinks."""


@dataclass(frozen=True)
class WorkerPlan:
    """One process: its stages and its neighbours."""

    name: str
    index: int
    stages: tuple[str, ...]
    streams: tuple[int, ...]
    next: dict[int, str | None]
    """For each stream the worker that gets the frame afterwards; None for the last."""
    home: dict[int, str]
    """For each stream the worker that runs capture: free slots go there."""


@dataclass(frozen=True)
class Topology:
    """All workers of a run."""

    workers: tuple[WorkerPlan, ...]
    order: tuple[str, ...]
    """Stages in the order of the corridor, capture first."""
    diary: tuple[str, ...]
    """Names of the lines in a slot's diary."""
    placement: Placement

    def slots(self, n_sinks: int) -> int:
        """Frames in flight: one a stage, two to spare, and one more for every further sink that may lag."""
        return len(self.order) + 2 + max(0, n_sinks - 1)


def plan(config: RunConfig, n_streams: int) -> Topology:
    """Lay out the workers of a run.

    Raises:
        ConfigError: unknown stages, or groups that are not neighbours.
        WiringError: a stage reads what no stage before it writes.
    """
    order = _order(config)
    _check_wiring(order)
    placement = placement_of(config, order, n_streams)
    groups = placement.groups
    names: dict[tuple[int, int], str] = {}
    plans: list[tuple[str, tuple[str, ...], tuple[int, ...]]] = []
    for place, group in enumerate(groups):
        name = "+".join(stage.rpartition(":")[2].lower() for stage in group)
        if PER_STREAM & set(group) and n_streams > 1:
            for stream in range(n_streams):
                names[place, stream] = f"{name}.{stream}"
                plans.append((names[place, stream], group, (stream,)))
        else:
            for stream in range(n_streams):
                names[place, stream] = name
            plans.append((name, group, tuple(range(n_streams))))
    workers = []
    for index, (name, group, streams) in enumerate(plans):
        place = groups.index(group)
        following = {s: names.get((place + 1, s)) for s in streams}
        workers.append(WorkerPlan(name, index, group, streams, following, {s: names[0, s] for s in streams}))
    if len(workers) > 32:
        raise ConfigError(f"{len(workers)} worker processes; at most 32 (fewer streams, or group stages)")
    diary = tuple(line for stage in order for line in _diary_lines(stage))
    if len(diary) > MAX_DIARY_LINES:
        raise ConfigError(f"workers: {len(order)} stages; a slot's diary has room for {MAX_DIARY_LINES}")
    return Topology(tuple(workers), tuple(order), diary, placement)


def standby_plan(topology: Topology) -> WorkerPlan:
    """The worker that runs the engine, if a second process may be started like it.

    Raises:
        ConfigError: it also has a source, sinks or files, of which there can be no second.
    """
    worker = next(one for one in topology.workers if any(_runs_the_engine(stage) for stage in one.stages))
    alone = [stage for stage in worker.stages if stage in {*PER_STREAM, "tap"}]
    if alone:
        raise ConfigError(
            f"restart.standby: segment shares a worker with {' and '.join(alone)}, which cannot be open twice; give "
            "segment a worker of its own (workers), or set standby to 0"
        )
    return worker


def _runs_the_engine(stage: str) -> bool:
    return stage != "capture" and "alpha" in stage_class(stage).writes


def engine_threads(config: RunConfig, *, live: bool) -> int:
    """Threads for the engine.

    Live, latency counts and processors idle between frames: all but those that decode and draw on
    larger machines. Lossless, every processor is busy anyway and one thread has no hand-over cost.
    """
    if config.threads:
        return config.threads
    cpus = usable_cores()
    if live:
        return max(1, min(cpus, 2) if cpus <= 4 else cpus - 2)
    return max(1, cpus - 1 if cpus <= 4 else cpus - 3)


def _order(config: RunConfig) -> list[str]:
    if config.workers:
        order = [stage for group in config.workers for stage in group]
        if _refines(config) and "refine" not in order:
            asked = "crf is on" if config.crf.method != "off" else f"stability is {config.stability:g}"
            raise ConfigError(f"workers: {asked} but no worker runs refine; add it between segment and render")
        if not _refines(config) and "refine" in order:
            raise ConfigError(
                "workers: refine is named but crf is off and stability is 0; set one of them, or take refine out"
            )
        if bool(config.tap) != ("tap" in order):
            raise ConfigError("workers: a tap needs its folder and its place; set tap: DIR, and name tap before render")
        return order
    refine = ["refine"] if _refines(config) else []
    tap = ["tap"] if config.tap else []
    return ["capture", "preprocess", "segment", *refine, *tap, "render"]


def _refines(config: RunConfig) -> bool:
    return config.crf.method != "off" or config.stability > 0


def _check_wiring(order: Sequence[str]) -> None:
    known = ["capture", *STAGES]
    for stage in order:
        if stage not in known and ":" not in stage:
            raise ConfigError(f"workers: no stage {stage!r}; {near_matches(stage, known)}")
    if len(set(order)) != len(order):
        raise ConfigError(f"workers: a stage is named twice in {' -> '.join(order)}")
    if order[0] != "capture" or order[-1] != "render" or len(order) < 2:
        raise ConfigError(f"workers: {' -> '.join(order)} must begin with capture and end with render")
    written = {"image_bgr"}
    for stage in order[1:]:
        made = stage_class(stage)
        unknown = (made.reads | made.writes) - set(PLANES)
        if unknown:
            raise WiringError(f"stage {stage} names planes {sorted(unknown)}; there are {', '.join(PLANES)}")
        missing = made.reads - written
        if missing:
            raise WiringError(
                f"stage {stage} reads {', '.join(sorted(missing))}, which no stage before it writes "
                f"({' -> '.join(order)}); add the stage that does"
            )
        written |= made.writes


def _diary_lines(stage: str) -> list[str]:
    if stage == "capture":
        return [stage]
    tail = stage_class(stage).tail
    name = stage.rpartition(":")[2].lower()
    return [name, tail] if tail else [name]
