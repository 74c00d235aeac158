"""One step of a training: crops in, weights moved. `engines.training.train` repeats it.

A step sees the whole batch: this process's places of it, in `accumulate` parts one after another. The trap: the
pixels that count are counted over all parts and processes *before* the first part, because a mean of means is not
the mean when parts have unequal numbers of ignored pixels.
"""

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from engines.data.consecutive import FrameBatch, FramePairs
from engines.data.loader import Batch, TrainingSet, made_ahead
from engines.errors import DataError
from engines.models.deeplab import DeepLab, build
from engines.models.weights import load_backbone
from engines.training import distil
from engines.training.batch_norm import prepared, training_mode
from engines.training.classes import class_weights
from engines.training.config import TrainConfig
from engines.training.distributed import Process, joined, total
from engines.training.faults import NotFinite
from engines.training.hardware import autocast_for, device_of, precision_of
from engines.training.losses import pixel_weights
from engines.training.optimisers import freeze, optimiser_for, set_rates
from engines.training.recipe import Statistics
from engines.training.schedules import Average, factor
from engines.training.state import TrainingState, seed_for
from engines.training.supervision import Part, Supervision

__all__ = ["Crops", "Steps", "prepared_steps"]


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
        self.precision = precision_of(config.precision, device)
        self.places = process.places(config.schedule.batch)
        self.training_set = training_set_of(config, say if process.is_first else None)
        temporal = config.temporal
        self.frame_pairs = FramePairs.read(temporal.sources, len(config.classes)) if temporal.weight else None
        torch.manual_seed(config.seed)
        model = fresh_network(config)
        self.is_pretrained = config.backbone_weights is not None or config.init_from is not None
        self.still = freeze(model, config.optimiser)
        prepared(model, config.batch_norm, self.is_pretrained, device.type == "cuda")
        model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in the stubs
        self.state = TrainingState(
            model,
            Average(model, config.schedule.average_decay),
            optimiser_for(model, config.optimiser),
            torch.amp.GradScaler(device.type, enabled=self.precision == "fp16"),
        )
        self.supervision = Supervision(
            model, config, autocast_for(self.precision, device), class_weights(config, self.training_set, device)
        )
        self.trained: nn.Module = self.supervision
        if process.n > 1:
            # Frozen statistics are the same everywhere; sending them before each step would cost and change nothing.
            sends_buffers = Statistics.FROZEN not in {config.batch_norm.backbone, config.batch_norm.head}
            self.trained = DistributedDataParallel(
                self.supervision,
                device_ids=[device.index] if device.type == "cuda" else None,
                broadcast_buffers=sends_buffers,
            )
        self.train_mode()

    def train_mode(self) -> None:
        """After an evaluation, and at the start."""
        training_mode(self.state.model, self.config.batch_norm, self.is_pretrained, self.still)

    def crops(self) -> Generator[Crops]:
        """What each step sees, from the present step to the last; made ahead by threads."""
        return made_ahead(self.crops_of, self.state.step, self.config.schedule.steps, self.config.loader_threads)

    def crops_of(self, step: int) -> Crops:
        """This process's places of a step; they depend on (seed, step, place) alone."""
        config = self.config
        batch = self.training_set.crops(config.schedule.batch, config.augment, config.seed, step, self.places)
        frames = None
        if self.frame_pairs is not None:
            n_pairs = config.temporal.batch
            frames = self.frame_pairs.crops(n_pairs, config.augment, config.seed, step, self.process.places(n_pairs))
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

    def forward_backward(self, crops: Crops) -> dict[str, float]:
        """Gradients of the whole batch, in parts; returns the terms over all processes."""
        torch.manual_seed(seed_for(self.config.seed, self.state.step, self.process.rank))
        parts = self.parts(crops)
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

    def parts(self, crops: Crops) -> list[Part]:
        """The batch on the device, in as many parts as are accumulated, with the teacher's word."""
        config, batch = self.config, crops.batch
        moved = [x.to(self.device, non_blocking=True) for x in (batch.images_bgr, batch.labels, batch.is_distilled)]
        parts = []
        for images, labels, is_distilled in zip(*(x.chunk(config.schedule.accumulate) for x in moved), strict=True):
            soft = weights = None
            if self.teacher is not None and (config.distil.labelled or any(s.is_distilled for s in config.sources)):
                soft = self.teacher.log_probs(images)
                weights = distil.pixel_weights(soft, is_distilled, config.distil)
            parts.append(Part(images, labels, soft, weights))
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
            if part.soft_weights is not None:
                found["distil"] = part.soft_weights.new_tensor(float(part.soft_weights.numel()))
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


def fresh_network(config: TrainConfig) -> DeepLab:
    """The network before its first step, on the CPU."""
    model = build(config.model, len(config.classes))
    if config.backbone_weights is not None:
        load_backbone(model.get_submodule("backbone"), Path(config.backbone_weights))
    return model


def training_set_of(config: TrainConfig, say: Callable[[str], None] | None = None) -> TrainingSet:
    """The sources; the teacher is asked where labels are distrusted."""
    teacher, subject = None, 0
    if config.teacher is not None and any(source.distrust != "nothing" for source in config.sources):
        if config.teacher.suffix not in {".npz", ".pt"}:
            raise DataError(f"{config.teacher}: `distrust` asks a .npz or a checkpoint, not an engine")
        teacher, classes = distil.network_of(config.teacher)
        wanted = config.subject or config.classes[1]
        if wanted not in classes:
            raise DataError(f"{config.teacher}: does not know {wanted!r}; `distrust` needs a teacher that does")
        subject = classes.index(wanted)
    return TrainingSet.read(config.sources, len(config.classes), teacher, subject, config.cache_mb, say)
