"""One step of a training: crops in, weights moved. `engines.training.train` repeats it.

A step sees the whole batch: this process's places of it, in `accumulate` parts one after another. The trap: the
pixels that count are counted over all parts and processes *before* the first part, because a mean of means is not
the mean when parts have unequal numbers of ignored pixels.
"""

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from engines.data.consecutive import FrameBatch, FramePairs
from engines.data.loader import Batch, made_ahead
from engines.errors import TrainingError
from engines.training import distil
from engines.training.batch_norm import chosen, prepared, training_mode
from engines.training.classes import class_weights
from engines.training.config import TrainConfig
from engines.training.distributed import Process, joined, total
from engines.training.faults import NotFinite
from engines.training.hardware import autocast_for, device_of, precision_of
from engines.training.losses import pixel_weights
from engines.training.optimisers import freeze, optimiser_for, set_rates
from engines.training.provenance import fingerprint
from engines.training.recipe import Statistics
from engines.training.schedules import Average, factor
from engines.training.start import fresh_network, training_set_of
from engines.training.state import TrainingState, seed_for
from engines.training.supervision import Part, Supervision

__all__ = ["Crops", "Steps", "prepared_steps"]


HAS_NEW_NAME = "forward_sync_buffers" in signature(DistributedDataParallel).parameters
"""Of DDP's switch for sending statistics before each step, which was renamed."""


@dataclass(frozen=True, eq=False)
class Crops:
    """What one step sees."""

    batch: Batch
    frames: FrameBatch | None = None
    """Of the temporal term."""


class Steps:
    """A network, its data and its losses, ready to step."""

    def __init__(
        self,
        config: TrainConfig,
        process: Process,
        device: torch.device,
        teacher: distil.Teacher | None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.config = config
        self.process = process
        self.device = device
        self.teacher = teacher
        self.augment = config.crops
        self.precision = precision_of(config.precision, device)
        self.places = process.places(config.schedule.batch)
        self.frame_places = process.places(config.temporal.batch, "temporal.batch") if config.temporal.weight else None
        self.training_set = training_set_of(config, say if process.is_first else None)
        temporal = config.temporal
        self.frame_pairs = FramePairs.read(temporal.sources, len(config.classes)) if temporal.weight else None
        torch.manual_seed(config.seed)
        model = fresh_network(config, say if process.is_first else None)
        self.is_pretrained = config.backbone_weights not in {None, "none"} or config.init_from is not None
        self.statistics = chosen(config.batch_norm, self.is_pretrained)
        self.check_parts()
        self.still = freeze(model, config.optimiser)
        prepared(model, config.batch_norm, self.is_pretrained, device.type == "cuda", config.optimiser.with_backbone)
        model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in the stubs
        self.state = TrainingState(
            model,
            Average(model, config.schedule.average_decay),
            optimiser_for(model, config.optimiser),
            torch.amp.GradScaler(device.type, enabled=self.precision == "fp16"),
            fingerprint(config.sources),
        )
        self.supervision = Supervision(
            model, config, autocast_for(self.precision, device), class_weights(config, self.training_set, device)
        )
        self.trained: nn.Module = self.supervision
        if process.n > 1:
            # Frozen statistics are the same everywhere; sending them before each step would cost and change nothing.
            is_frozen = all(statistics is Statistics.FROZEN for _, statistics in self.statistics)
            options: dict[str, Any] = {"forward_sync_buffers" if HAS_NEW_NAME else "broadcast_buffers": not is_frozen}
            gpus = [device.index] if device.type == "cuda" else None
            self.trained = DistributedDataParallel(self.supervision, device_ids=gpus, **options)
        self.train_mode()

    @property
    def least(self) -> int:
        """Crops that a part must have: one crop has no variance where a layer sees a single pixel of it."""
        return 1 if all(statistics is Statistics.FROZEN for _, statistics in self.statistics) else 2

    def check_parts(self) -> None:
        """Raise TrainingError when this process's places cannot be split as the schedule asks."""
        n, parts = len(self.places), self.config.schedule.accumulate
        if n % parts or n // parts < self.least:
            raise TrainingError(
                f"a process has {n} crops a step, which schedule.accumulate={parts} cannot split into equal parts of "
                f"{self.least} or more; lower it, raise schedule.batch, or freeze batch_norm.head and .backbone"
            )

    def train_mode(self) -> None:
        """After an evaluation, and at the start."""
        options = self.config
        parts = options.optimiser.with_backbone
        training_mode(self.state.model, options.batch_norm, self.is_pretrained, self.still, parts)

    def crops(self) -> Generator[Crops]:
        """What each step sees, from the present step to the last; made ahead by threads."""
        return made_ahead(self.crops_of, self.state.step, self.config.schedule.steps, self.config.loader_threads)

    def crops_of(self, step: int) -> Crops:
        """This process's places of a step; they depend on (seed, step, place) alone."""
        config = self.config
        batch = self.training_set.crops(config.schedule.batch, self.augment, config.seed, step, self.places)
        frames = None
        if self.frame_pairs is not None:
            n_pairs = config.temporal.batch
            frames = self.frame_pairs.crops(n_pairs, self.augment, config.seed, step, self.frame_places)
        return Crops(batch, frames)

    def step(self, crops: Crops) -> tuple[dict[str, float], dict[str, float]]:
        """One step of the optimiser.

        Returns:
            The terms over the whole batch (with `loss`), and the learning rates of backbone and head.

        Raises:
            NotFinite: a term is NaN or infinite; the weights are left as they were.
        """
        state, options = self.state, self.config.optimiser
        rates = set_rates(state.optimiser, factor(state.step, self.config.schedule))
        state.optimiser.zero_grad(set_to_none=True)
        terms = self.forward_backward(crops)
        wrong = [f"{name} is {value}" for name, value in terms.items() if not math.isfinite(value)]
        if wrong:
            raise NotFinite(", ".join(wrong))
        if options.clip_norm:
            state.scaler.unscale_(state.optimiser)
            nn.utils.clip_grad_norm_(state.model.parameters(), options.clip_norm)
        state.scaler.step(state.optimiser)
        state.scaler.update()
        state.average.update(state.model)
        state.step += 1
        return terms, rates

    def forward_backward(self, crops: Crops, n_parts: int | None = None) -> dict[str, float]:
        """Gradients of the whole batch, in `accumulate` parts or `n_parts`; returns the terms over all processes."""
        torch.manual_seed(seed_for(self.config.seed, self.state.step, self.process.rank))
        parts = self.parts(crops, n_parts or self.config.schedule.accumulate)
        totals = self.totals(parts)
        added: dict[str, Tensor] = {}
        for index, part in enumerate(parts):
            is_last = index == len(parts) - 1
            with nullcontext() if is_last else self.unsynchronised():
                terms = self.trained(part, totals, len(parts) * self.process.n)
                # DDP takes the mean over processes, and every process's loss is already its share of the whole.
                scaled_loss = self.state.scaler.scale(terms["loss"] * self.process.n)
                scaled_loss.backward()
            for name, value in terms.items():
                added[name] = added[name] + value.detach() if name in added else value.detach()
        values = total(torch.stack(list(added.values()))).tolist()
        return dict(zip(added, values, strict=True))

    def parts(self, crops: Crops, n_parts: int) -> list[Part]:
        """The batch on the device, in parts, with the teacher's word."""
        config, batch = self.config, crops.batch
        arrays = (batch.images_bgr, batch.labels, batch.is_distilled, batch.inside)
        moved = [x.to(self.device, non_blocking=True) for x in arrays]
        parts = []
        for images, labels, is_distilled, inside in zip(*(x.chunk(n_parts) for x in moved), strict=True):
            soft = weights = share = None
            if self.teacher is not None and (config.distil.labelled or any(s.is_distilled for s in config.sources)):
                asked = torch.ones_like(is_distilled) if config.distil.labelled else is_distilled
                soft = distil.asked_log_probs(self.teacher, images, asked, len(config.classes))
                share = distil.picture_share(inside, soft.shape[-2:])
                weights = distil.pixel_weights(soft, is_distilled, share, config.distil)
            parts.append(Part(images, labels, soft, weights, share))
        if crops.frames is not None:
            # With the last part, so that memory is needed once.
            frames = FrameBatch(*(x.to(self.device, non_blocking=True) for x in crops.frames))
            parts[-1] = replace(parts[-1], frames=frames)
        return parts

    def totals(self, parts: list[Part]) -> dict[str, Tensor]:
        """What each term's sum is divided by, over all parts and processes."""
        sums: dict[str, Tensor] = {}
        for part in parts:
            counted = pixel_weights(part.labels, self.config.losses, self.supervision.class_weights)
            found = {name: weight.sum() for name, weight in counted.items()}
            if part.soft_share is not None:
                found["distil"] = part.soft_share.sum()
            for name, value in found.items():
                sums[name] = sums[name] + value if name in sums else value
        if not sums:
            return {}
        added = total(torch.stack(list(sums.values())))
        return dict(zip(sums, added.unbind(), strict=True))

    @contextmanager
    def unsynchronised(self) -> Iterator[None]:
        """Gradients stay here until the last part."""
        if isinstance(self.trained, DistributedDataParallel):
            with self.trained.no_sync():
                yield
        else:
            yield


@contextmanager
def prepared_steps(config: TrainConfig, say: Callable[[str], None] | None = None) -> Iterator[Steps]:
    """Join the other processes, open the teacher, build everything; closed again on the way out.

    Args:
        say: takes a line now and then where reading the data takes long.

    Raises:
        DataError, CheckpointError, TrainingError: a source, weights or options that cannot be used.
    """
    torch.set_num_threads(config.threads)
    with ExitStack() as stack:
        process = stack.enter_context(joined(device_of(config.device).type == "cuda"))
        device = device_of(config.device, process.local_rank)
        teacher: distil.Teacher | None = None
        if config.teacher is not None and (config.distil.labelled or any(s.is_distilled for s in config.sources)):
            autocast = autocast_for(precision_of(config.precision, device), device)
            teacher = stack.enter_context(distil.opened(config.teacher, config.classes, device, autocast))
        yield Steps(config, process, device, teacher, say)
