"""A training tried out: what it would do, how long it would take, how much memory, and the largest batch that fits.

Nothing is written. The traps: the first step is slow everywhere (memory is fetched, kernels are chosen), so it is
not counted; and a CPU's memory can be measured but must not be exhausted, since the system then kills a process of
its choice: there the largest batch is computed from the growth of the peak, on a GPU it is tried.
"""

import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from engines.data import IGNORE
from engines.data.consecutive import FrameBatch
from engines.data.loader import Batch, made_ahead
from engines.data.views import Part
from engines.errors import TrainingError
from engines.machine import memory_limit_bytes
from engines.training.config import TrainConfig
from engines.training.faults import is_out_of_memory
from engines.training.steps import Crops, Steps, prepared_steps
from engines.training.validate import opened_sets, scored

__all__ = ["Rehearsal", "Trial", "available_bytes", "largest_batch", "rehearsed", "trials"]

TIMED_STEPS = 2
EVALUATED = 2
"""Pictures of each validation set that are timed."""
SHARE_OF_MEMORY = 0.8
"""Of what is free: the rest is for the loader and for what comes later."""


@dataclass(frozen=True)
class Rehearsal:
    """What two steps and two pictures showed."""

    lines: tuple[str, ...]
    """Data, network and schedule, in words."""
    s_per_step: float
    s_per_evaluation: float
    total_s: float
    peak_bytes: int
    """Of the whole process on a CPU, of the GPU's own memory on a GPU."""


def rehearsed(config: TrainConfig) -> Rehearsal:
    """Build everything, take one step and two timed ones, score two pictures of each validation set.

    Raises:
        DataError, CheckpointError, TrainingError: as `run` would.
    """
    sets = opened_sets(config)
    with prepared_steps(config) as steps:
        # Not `steps.crops()`: a training of one step is tried out by as many.
        crops = made_ahead(steps.crops_of, 0, 1 + TIMED_STEPS, config.loader_threads)
        try:
            steps.step(next(crops))
            begin_s = time.monotonic()
            for _ in range(TIMED_STEPS):
                steps.step(next(crops))
            s_per_step = (time.monotonic() - begin_s) / TIMED_STEPS
        finally:
            crops.close()
        few = {name: Part(one, range(min(EVALUATED, len(one)))) for name, one in sets.items()}
        begin_s = time.monotonic()
        scored(steps.state.averaged(config).network().to(steps.device), config, few)
        s_per_picture = (time.monotonic() - begin_s) / max(1, sum(map(len, few.values())))
        s_per_evaluation = s_per_picture * sum(map(len, sets.values()))
        schedule = config.schedule
        n_evaluations = -(-schedule.steps // schedule.evaluate_every) if sets else 0
        return Rehearsal(
            tuple(_described(steps, {name: len(one) for name, one in sets.items()})),
            s_per_step,
            s_per_evaluation,
            schedule.steps * s_per_step + n_evaluations * s_per_evaluation,
            _peak_bytes(steps.device),
        )


def _described(steps: Steps, sets: dict[str, int]) -> Iterator[str]:
    config, schedule = steps.config, steps.config.schedule
    shares = steps.training_set.probabilities
    for source, group, share in zip(config.sources, steps.training_set.groups, shares, strict=True):
        where = source.path if source.path != Path() else source.format
        soft = ", with the teacher's soft labels" if source.is_distilled else ""
        yield f"source {where} {source.prefix}: {len(group.pairs)} pictures, {share:.0%} of the crops{soft}"
    for name, n in sets.items():
        yield f"validation {name}: {n} pictures"
    parameters = list(steps.state.model.parameters())
    n_all, n_learn = sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)
    yield f"network {config.model.title}: {n_all / 1e6:.2f} M parameters, {n_learn / 1e6:.2f} M learn"
    parts = f" in {schedule.accumulate} parts" if schedule.accumulate > 1 else ""
    how = f"{config.optimiser.kind}, {schedule.policy}"
    yield f"schedule: {schedule.steps} steps of {schedule.batch} crops{parts}, {how}"
    n_looks = schedule.steps * schedule.batch / len(steps.training_set)
    yield f"on {steps.device} in {steps.precision}; {n_looks:.1f} looks at each picture"


@dataclass(frozen=True)
class Trial:
    """One size of batch, tried."""

    n: int
    """Crops at once."""
    images_per_s: float
    peak_bytes: int
    """Highest memory so far; of earlier and smaller trials too."""


def trials(config: TrainConfig, most: int, budget_bytes: int | None = None) -> Iterator[Trial]:
    """Try 2, 4, 8, ... crops at once, up to `most`, as long as they fit; from 1 where statistics allow.

    Args:
        budget_bytes: of memory; by default 0.8 of what is free. On a CPU the next size is left out when the growth so
            far says that it would not fit.
    """
    whole = config.schedule.model_copy(update={"accumulate": 1})
    with prepared_steps(config.model_copy(update={"schedule": whole})) as steps:
        budget = budget_bytes or int(SHARE_OF_MEMORY * available_bytes(steps.device))
        steps.step(_made_up(steps, 2))  # the optimiser's own memory
        tried: list[Trial] = []
        n = steps.least
        while n <= most and (not tried or steps.device.type == "cuda" or _predicted(tried, n) <= budget):
            crops = _made_up(steps, n)
            try:
                steps.forward_backward(crops)
                begin_s = time.monotonic()
                steps.forward_backward(crops)
                elapsed_s = time.monotonic() - begin_s
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                return
            finally:
                steps.state.optimiser.zero_grad(set_to_none=True)
            tried.append(Trial(n, n / elapsed_s, _peak_bytes(steps.device)))
            if tried[-1].peak_bytes > budget:
                return
            yield tried[-1]
            n *= 2


def largest_batch(tried: list[Trial], budget_bytes: int) -> int:
    """Crops at once that fit the budget, by a straight line through the largest two trials.

    Raises:
        TrainingError: not even one crop fits.
    """
    if not tried:
        raise TrainingError("not even one crop fits the memory; lower augment.crop_px, or take a smaller network")
    n = tried[-1].n
    while n < 2 * tried[-1].n and _predicted(tried, n + 1) <= budget_bytes:
        n += 1
    return n


def available_bytes(device: torch.device) -> int:
    """Memory that this process may still take."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0]) + int(torch.cuda.memory_reserved(device))
    free = _meminfo("MemAvailable") + _peak_bytes(device)
    limit = memory_limit_bytes()
    return free if limit is None else min(free, limit)


def _predicted(tried: list[Trial], n: int) -> int:
    """Peak memory at another size: the last two trials, continued."""
    last = tried[-1]
    if len(tried) == 1:
        return last.peak_bytes
    growth = (last.peak_bytes - tried[-2].peak_bytes) / (last.n - tried[-2].n)
    return int(last.peak_bytes + growth * (n - last.n))


def _made_up(steps: Steps, n: int) -> Crops:
    """Noise of the right shape, frames of the temporal term included: what is in the pixels costs nothing."""
    height, width = steps.config.augment.size
    labels = torch.randint(0, len(steps.config.classes), (n, height, width), dtype=torch.uint8)
    labels[:, : height // 8] = IGNORE
    images = torch.randint(0, 256, (n, height, width, 3), dtype=torch.uint8)
    frames = None
    if steps.frame_places is not None:  # they come whole with one part, however small the parts are
        first, second = torch.randint(0, 256, (2, len(steps.frame_places), height, width, 3), dtype=torch.uint8)
        frames = FrameBatch(first, second, torch.zeros(*first.shape[:3], 2))
    return Crops(Batch(images, labels, torch.ones(n, dtype=torch.bool), torch.ones_like(labels)), frames)


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _meminfo(key: str) -> int:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * 1024
    return 0
