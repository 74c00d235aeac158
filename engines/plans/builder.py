"""Building a plan: parse, configure, build, keep. Nothing is written before the plan is whole.

The builder runs in a thread of its own, without the interpreter's lock, so that Ctrl-C is heard at once and the
progress can be drawn. The trap: a build ends between two of its steps, which may be seconds after Ctrl-C, and an
interpreter that goes down around working native code crashes; so the step is waited for. A second Ctrl-C ends the
process at once.
"""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engines.errors import BuildError, EngineError, EngineMismatch
from engines.plans.cache import BuildFacts, Plan, PlanCache, PlanManifest
from engines.plans.gpu import Gpu
from engines.plans.key import Batches, PlanKey, PlanOptions, Target, key_of, source_of
from engines.plans.library import Library
from engines.plans.network import Parsed, config_of, layer_lines, parse
from engines.plans.progress import Phases, make_monitor
from engines.plans.timing_cache import timing_cache_for
from engines.spec import EngineSpec

__all__ = ["Built", "build_plan", "dynamic_batches"]

TICK_S = 0.2


@dataclass(frozen=True)
class Built:
    """A plan that is there now."""

    plan: Plan
    was_there: bool
    """Found in the cache; nothing was built."""
    warnings: tuple[str, ...] = ()
    """What the builder said beside it."""


def build_plan(
    spec: EngineSpec,
    library: Library,
    target: Target,
    options: PlanOptions,
    cache: PlanCache,
    *,
    gpu: Gpu | None = None,
    force: bool = False,
    watch: Callable[[Phases], None] | None = None,
) -> Built:
    """The plan of a graph: found, or built and kept. Several processes may ask at once; one builds.

    Args:
        options: `batches` must be given exactly when the graph's batch axis is open; see `dynamic_batches`.
        force: build even where there is one, and replace it; also what a damaged one needs.
        watch: called every fifth of a second while the builder works.

    Raises:
        BuildError: TensorRT refuses the graph, or could not build it.
        EngineMismatch: the graph is not what its manifest says, or the plan in the cache is damaged.
        KeyboardInterrupt: as usual, with the cache as it was.
    """
    key = key_of(spec, library, target, options)
    if not force and (found := _found(cache, key)):
        return Built(found, was_there=True)
    with cache.building(key.digest):
        if not force and (found := _found(cache, key)):  # somebody built it while this process waited
            return Built(found, was_there=True)
        made = _interruptible(lambda phases: _made(spec, library, target, options, cache, phases), watch)
        facts = made.facts.model_copy(
            update={"built_on": f"{gpu.label}, driver for CUDA {gpu.driver_cuda}" if gpu else "a machine without a GPU"}
        )
        manifest = PlanManifest(
            engine=spec.label,
            source=source_of(spec),
            key=key,
            plan="to be written",
            plan_bytes=1,
            plan_sha256="",
            facts=facts,
        )
        return Built(cache.keep(manifest, made.data), was_there=False, warnings=made.warnings)


def dynamic_batches(spec: EngineSpec, batches: Batches | None) -> Batches | None:
    """What to put into `PlanOptions.batches`: the wish, or the default for a graph that takes any batch."""
    if batches is not None or not spec.any_batch:
        return batches
    return Batches()


def _found(cache: PlanCache, key: PlanKey) -> Plan | None:
    plan = cache.find(key)
    if plan is not None:
        plan.load()
    return plan


def _aim(parsed: Parsed, config: Any, target: Target) -> None:
    """Tell `tensorrt_rtx` which GPUs the plan is for; its own default is the portable set."""
    if parsed.library.kind.needs_gpu or target.compute_capability.endswith("+"):
        return
    known = parsed.library.trt.ComputeCapability.__members__
    name = f"SM{target.compute_capability.replace('.', '')}"
    if name not in known:
        capabilities = [f"{key[2:-1]}.{key[-1]}" for key in known if key.startswith("SM")]
        raise EngineMismatch(
            f"{parsed.library.label} builds for compute capability {', '.join(capabilities)} or for its portable "
            f"set, 8.0+, not for {target.compute_capability}; leave --compute-capability out"
        )
    config.num_compute_capabilities = 1
    config.set_compute_capability(known[name], 0)


@dataclass(frozen=True)
class _Made:
    data: bytes
    facts: BuildFacts
    warnings: tuple[str, ...]


def _made(
    spec: EngineSpec, library: Library, target: Target, options: PlanOptions, cache: PlanCache, phases: Phases
) -> _Made:
    """All that is native: parse, configure, build."""
    parsed = parse(library, spec)
    config = config_of(parsed, spec, options)
    _aim(parsed, config, target)
    monitor = config.progress_monitor = make_monitor(library, phases)
    with timing_cache_for(cache, library, target, config):
        start_s = time.monotonic()
        memory = parsed.builder.build_serialized_network(parsed.network, config)
        seconds = time.monotonic() - start_s
        if memory is None:
            raise BuildError(
                f"{spec.path}: {library.label} could not build it ({parsed.log.last_error}); try --opt-level 0, or run "
                "it with --backend openvino or onnxruntime"
            )
    del monitor  # it had to live until here
    layers, precisions = layer_lines(parsed.network)
    facts = BuildFacts(
        seconds=round(seconds, 3),
        layers=layers,
        precisions=precisions,
        activation_bytes=parsed.log.memory.get("Activation"),
        weights_bytes=parsed.log.memory.get("Weights"),
    )
    return _Made(bytes(memory), facts, tuple(parsed.log.warnings))


def _interruptible(work: Callable[[Phases], _Made], watch: Callable[[Phases], None] | None) -> _Made:
    """Run native work in a thread, where no KeyboardInterrupt can be raised into its calls of Python."""
    phases = Phases()
    made: list[_Made] = []
    failed: list[BaseException] = []
    is_done = threading.Event()  # Thread.join() takes a thread for dead when Ctrl-C interrupts it (Python 3.11)

    def run() -> None:
        try:
            made.append(work(phases))
        except EngineError as error:
            # Its traceback would keep the builder alive in a cycle of garbage, and a collection that strikes inside a
            # call of the next build's logger would destroy it under TensorRT's own locks.
            failed.append(error.with_traceback(None))
        except BaseException as error:  # noqa: BLE001  # raised below, where somebody hears it
            failed.append(error)
        finally:
            is_done.set()

    thread = threading.Thread(target=run, name="plan builder", daemon=True)
    thread.start()
    try:
        while not is_done.wait(TICK_S):
            if watch is not None:
                watch(phases)
    except BaseException:
        phases.is_stopped.set()
        _wait_for_last_step(is_done)
        thread.join()
        raise
    thread.join()
    if failed:
        raise failed.pop()
    return made[0]


def _wait_for_last_step(is_done: threading.Event) -> None:
    """Until the builder has seen that it is to stop; whoever interrupts again ends the process; nothing was written."""
    try:
        is_done.wait()
    except KeyboardInterrupt:
        os._exit(130)
