"""The training loop: AdamW, poly, frozen backbone statistics, averaged weights.

    python -m engines train configs/train/person.yaml --out runs/person

The trap: the backbone's batch-norm *statistics* stay as they came (its weights do learn), because they were
measured on far more pictures than a batch of 16 shows. `run` stops at the end of a step when asked to, writes
`last.pt`, and goes on from there with `resume`.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch
from torch import nn

from engines.data.datasets import Folder
from engines.data.loader import TrainingSet, batches
from engines.evaluate import evaluate
from engines.models.deeplab import build, normalise
from engines.models.segmenters import P1Network
from engines.models.weights import VOC_CLASSES, load_backbone, voc_deeplab
from engines.training.checkpoint import Checkpoint
from engines.training.config import TrainConfig
from engines.training.losses import segmentation_loss
from engines.training.schedules import Average, poly

__all__ = ["Outcome", "run"]

TEACHER_SUBJECT = "person"
LOG_EVERY = 10


@dataclass(frozen=True)
class Outcome:
    """How a training ended."""

    step: int
    is_finished: bool
    """False when a signal ended it; `resume` goes on."""
    best_miou: float
    losses: tuple[float, ...]


def run(config: TrainConfig, out: Path, resume: bool = False, say: Callable[[str], None] = print) -> Outcome:
    """Train, evaluate now and then, and keep `best.pt` and `last.pt` in `out`.

    Args:
        resume: go on from `out/last.pt`; the config may then ask for other `steps`.
        say: takes one line of progress.

    Raises:
        DataError, CheckpointError: a source, the weights or the checkpoint cannot be used.
    """
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    schedule = config.schedule
    model = _fresh_model(config)
    average = Average(model, schedule.average_decay)
    optimizer = _optimizer(model, config)
    first_step, best_miou = 0, 0.0
    if resume:
        stored = Checkpoint.load(out / "last.pt")
        first_step, best_miou = _restore(stored, model, average, optimizer)
        say(f"train: goes on at step {first_step} of {schedule.steps}")
    training_set = _training_set(config)
    say(f"train: {len(training_set)} pictures, {schedule.steps} steps of {schedule.batch}, {config.threads} threads")

    losses: list[float] = []
    step = first_step
    start_s, start_step = time.monotonic(), first_step
    crops = batches(training_set, schedule.batch, config.augment, config.seed, first_step, schedule.steps)
    with _stop_signal() as stop:
        try:
            for made in crops:
                factor = poly(step, schedule.steps, schedule.power, schedule.warm_up)
                for group in optimizer.param_groups:
                    group["lr"] = group["base_lr"] * factor
                loss = _train_step(model, optimizer, made.images_bgr, made.labels, config)
                average.update(model)
                losses.append(loss)
                step += 1
                if step % LOG_EVERY == 0:
                    say(_progress(step, schedule.steps, losses, factor, start_step, start_s, schedule.batch))
                if step % schedule.evaluate_every == 0 or step == schedule.steps:
                    checkpoint = _checkpoint(config, average, step)
                    miou = _scored(checkpoint, config, say)
                    if miou >= best_miou:
                        best_miou = miou
                        checkpoint.save(out / "best.pt")
                if step % schedule.save_every == 0 or step == schedule.steps or stop.is_set():
                    _checkpoint(config, average, step, model, optimizer, best_miou).save(out / "last.pt")
                if stop.is_set():
                    say(f"train: stopped at step {step}, saved {out / 'last.pt'}; go on with --resume")
                    break
        finally:
            crops.close()
    return Outcome(step, step >= schedule.steps, best_miou, tuple(losses))


def _train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images_bgr: torch.Tensor,
    labels: torch.Tensor,
    config: TrainConfig,
) -> float:
    images = normalise(images_bgr).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.is_bf16):
        logits = model(images)
    loss = segmentation_loss(logits, labels, config.schedule.dice_weight)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it without types
    optimizer.step()
    return float(loss.detach())


def _fresh_model(config: TrainConfig) -> nn.Module:
    model = build(config.model, len(config.classes))
    if config.backbone_weights is not None:
        load_backbone(model.get_submodule("backbone"), config.backbone_weights)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    model.train()
    if config.backbone_weights is not None:
        model.get_submodule("backbone").eval()
    return model


def _optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """Four groups: backbone and head, each with and without weight decay (biases and norms have none)."""
    schedule = config.schedule
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        lr = schedule.backbone_lr if name.startswith("backbone.") else schedule.head_lr
        decay = schedule.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((lr, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": p, "lr": lr, "base_lr": lr, "weight_decay": decay} for (lr, decay), p in groups.items()]
    )


def _training_set(config: TrainConfig) -> TrainingSet:
    teacher = None if config.teacher is None else voc_deeplab(config.teacher)
    return TrainingSet.read(config.sources, len(config.classes), teacher, VOC_CLASSES.index(TEACHER_SUBJECT))


def _checkpoint(
    config: TrainConfig,
    average: Average,
    step: int,
    model: nn.Module | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    best_miou: float = 0.0,
) -> Checkpoint:
    """The averaged weights; with `model` and `optimizer` also what resuming needs."""
    checkpoint = Checkpoint(
        name=config.name,
        model=config.model,
        meaning=config.meaning,
        weights={name: value.contiguous().clone() for name, value in average.weights.items()},
        step=step,
        trained_on=config.trained_on,
    )
    if model is not None and optimizer is not None:
        checkpoint.training = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "average_updates": average.n_updates,
            "best_miou": best_miou,
        }
    return checkpoint


def _restore(
    stored: Checkpoint, model: nn.Module, average: Average, optimizer: torch.optim.Optimizer
) -> tuple[int, float]:
    model.load_state_dict(stored.training["model"])
    average.weights = {name: value.clone() for name, value in stored.weights.items()}
    average.n_updates = stored.training["average_updates"]
    optimizer.load_state_dict(stored.training["optimizer"])
    return stored.step, stored.training["best_miou"]


def _scored(checkpoint: Checkpoint, config: TrainConfig, say: Callable[[str], None]) -> float:
    """Score the averaged weights under P1 and note it in the checkpoint; 0 without a validation set."""
    if config.validation is None:
        return 0.0
    pairs = Folder(config.validation.path, len(config.classes), config.validation.prefix)
    result = evaluate(P1Network(checkpoint.network(), config.classes), pairs)
    data = config.validation.prefix.strip("_") or config.validation.path.name
    checkpoint.scores = result.recorded(f"P1/{data}")
    told = ", ".join(f"{name} {value:.4f}" for name, value in result.scores.iou.items())
    say(f"train: step {checkpoint.step}: P1 {data} IoU {told}")
    return result.scores.miou


def _progress(
    step: int, n_steps: int, losses: list[float], factor: float, start_step: int, start_s: float, batch: int
) -> str:
    elapsed_s = time.monotonic() - start_s
    per_step_s = elapsed_s / (step - start_step)
    recent = losses[-LOG_EVERY:]
    return (
        f"train: step {step}/{n_steps}, loss {sum(recent) / len(recent):.4f}, lr x {factor:.3f}, "
        f"{batch / per_step_s:.1f} images/s, {(n_steps - step) * per_step_s / 60:.1f} min to go"
    )


@contextmanager
def _stop_signal() -> Iterator[threading.Event]:
    """Set by SIGTERM or SIGINT while inside; the handlers are put back afterwards."""
    stop = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
