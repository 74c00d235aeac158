"""Which of the plans that are kept a stream may run here, and why not the others.

A stream does not know how a plan was built, so any optimisation level will do (the higher the better), and for a graph
that takes any batch every profile with the wanted one. All else of the key must agree. The trap: a manifest that is
damaged or not ours says nothing about the other plans, so the search goes on, and what was wrong is told with the plan.
"""

from engines.errors import BackendUnavailable, EngineMismatch
from engines.plans.cache import Plan, PlanCache, plan_folders
from engines.plans.gpu import Gpu
from engines.plans.key import PlanKey, PlanOptions, Target, build_command, differences, key_of, source_of
from engines.plans.library import Library
from engines.spec import EngineSpec

__all__ = ["plan_for"]

OPT_LEVELS = range(5, -1, -1)


def plan_for(
    spec: EngineSpec, library: Library, gpu: Gpu, *, tf32: bool = True, is_dynamic: bool = False, batch: int = 1
) -> Plan:
    """The best plan of a graph that runs on this GPU; only its manifest is read.

    Args:
        batch: pictures a call that are wished for, where the graph takes any; a plan for fewer is better than none.

    Returns:
        With `passed_over`: why better ones were not taken.

    Raises:
        BackendUnavailable: there is none; says what the nearest was built for, and the command that builds one.
        EngineMismatch: there is none that may be opened, because its manifest was damaged or changed.
    """
    folders = [PlanCache(folder) for folder in plan_folders()]
    best, *others = Target.fitting(library, gpu)
    key = key_of(spec, library, best, PlanOptions(tf32=tf32))
    keys = [key, *(key.model_copy(update={"target": target}) for target in others)]
    reasons: list[str] = []
    for cache in folders:
        for key in keys:
            plan = _any_batch(cache, spec, key, batch, reasons) if is_dynamic else _any_level(cache, key, reasons)
            if plan is not None:
                plan.passed_over = tuple(reasons)
                return plan
    if reasons and not is_dynamic:
        raise EngineMismatch("; ".join(reasons))
    none = _why_none(spec, folders, keys[-1], gpu)
    if reasons:  # a manifest that cannot be read does not say whose it is
        raise EngineMismatch("; ".join([*reasons, none]))
    raise BackendUnavailable(none)


def _any_level(cache: PlanCache, key: PlanKey, reasons: list[str]) -> Plan | None:
    for level in OPT_LEVELS:
        try:
            plan = cache.find(key.model_copy(update={"options": key.options.model_copy(update={"opt_level": level})}))
        except EngineMismatch as error:
            reasons.append(str(error))
            continue
        if plan is not None:
            return plan
    return None


def _any_batch(cache: PlanCache, spec: EngineSpec, key: PlanKey, batch: int, reasons: list[str]) -> Plan | None:
    fitting = []
    plans, damaged = cache.of_graph(key.onnx_sha256)
    reasons += [reason for reason in damaged if reason not in reasons]  # a folder is read once for each target
    for plan in plans:
        options = plan.manifest.key.options
        batches = options.batches
        if batches is None or not batches.smallest <= spec.batch <= batches.largest:
            continue
        if not differences(plan.manifest.key, _key_for(key, options)):
            is_tuned = batches.usual == min(batch, batches.largest)
            fitting.append((min(batch, batches.largest), is_tuned, options.opt_level, -batches.largest, plan))
    return max(fitting, key=lambda entry: entry[:4])[4] if fitting else None


def _key_for(key: PlanKey, options: PlanOptions) -> PlanKey:
    """The same key with other batches and level, its planes following the batches."""
    planes = {
        kind: tuple(plane.model_copy(update={"shape": (-1, *plane.shape[1:])}) for plane in getattr(key, kind))
        for kind in ("inputs", "outputs")
    }
    kept = options.model_copy(update={"tf32": key.options.tf32})
    return key.model_copy(update={**planes, "options": kept})


def _why_none(spec: EngineSpec, folders: list[PlanCache], wanted: PlanKey, gpu: Gpu) -> str:
    nearest: list[list[str]] = [
        _words(spec, plan.manifest.key, wanted) for cache in folders for plan in cache.of_graph(wanted.onnx_sha256)[0]
    ]
    shortest = min(nearest, key=len, default=[])
    told = f"; one was {', '.join(shortest)}" if shortest else ""
    return f"no plan of {spec.label} for {gpu.label}{told}; build one: {build_command(source_of(spec), wanted)}"


def _words(spec: EngineSpec, found: PlanKey, wanted: PlanKey) -> list[str]:
    """What keeps a plan from being taken; neither its level nor the batches that it is tuned for do."""
    batches = found.options.batches
    if not spec.any_batch or batches is None:
        return [word for word in differences(found, wanted) if "optimisation level" not in word]
    words = differences(found, _key_for(wanted, found.options))
    if not batches.smallest <= spec.batch <= batches.largest:
        words.append(f"built for {batches.smallest} to {batches.largest} pictures a call, here {spec.batch}")
    return words
