"""How much of the machine does a training use? The whole loop's pictures a second against a bare one's.

Bare is forward, loss, backward and the optimiser's step on tensors that lie ready, with the same network, loss and
arithmetic: no crops, no augmentation, no averaged weights, no log. The two take turns inside one training: a
watcher holds the real loop after every few steps and runs as many bare ones. The trap: while the real loop is held
its loader fills the queue, a gift at the start of the next turn, so steps that could be fed from the queue alone
are not counted.
"""

import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor

from engines.bench.report import Comparison
from engines.bench.rounds import Rates
from engines.bench.synthetic import noise_bgr, noise_labels
from engines.data.loader import AHEAD
from engines.training.batch_norm import prepared, training_mode
from engines.training.config import TrainConfig
from engines.training.hardware import autocast_for, device_of, precision_of
from engines.training.losses import label_terms, pixel_weights
from engines.training.optimisers import freeze, optimiser_for
from engines.training.recipe import Distil, Temporal
from engines.training.start import fresh_network
from engines.training.train import run
from engines.training.watch import StepFacts, Watcher

__all__ = ["TRAINING_BAR", "BareLoop", "plain", "training_rate"]

TRAINING_BAR = 0.9
"""Of the bare loop's rate."""


class BareLoop:
    """The least that a training step of a config can be."""

    def __init__(self, config: TrainConfig) -> None:
        torch.set_num_threads(config.threads)
        self.config = config
        device = device_of(config.device)
        is_pretrained = config.backbone_weights not in {None, "none"} or config.init_from is not None
        self.model = fresh_network(config)
        still = freeze(self.model, config.optimiser)
        prepared(self.model, config.batch_norm, is_pretrained, device.type == "cuda")
        self.model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in the stubs
        training_mode(self.model, config.batch_norm, is_pretrained, still)
        self.optimiser = optimiser_for(self.model, config.optimiser)
        self.autocast = autocast_for(precision_of(config.precision, device), device)
        (height, width), batch = config.augment.size, config.schedule.batch
        images = self.model.normalise(noise_bgr(batch, height, width).to(device))
        self.images_rgb = images.contiguous(memory_format=torch.channels_last)
        self.labels = noise_labels(batch, height, width, len(config.classes)).to(device)
        self.totals = {n: w.sum() for n, w in pixel_weights(self.labels, config.losses, None).items()}

    def run(self, steps: int) -> int:
        """Step so often; returns the number of pictures."""
        for _ in range(steps):
            self.optimiser.zero_grad(set_to_none=True)
            with self.autocast:
                outputs = self.model.supervised(self.images_rgb)
            loss = torch.stack([self._loss(logits) for logits in outputs]).sum()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it without types
            self.optimiser.step()
        if self.images_rgb.is_cuda:
            torch.cuda.synchronize()
        return steps * self.config.schedule.batch

    def _loss(self, logits: Tensor) -> Tensor:
        losses = self.config.losses
        terms = label_terms(logits, self.labels, losses, None, self.totals)
        return torch.stack([getattr(losses, name) * value for name, value in terms.items()]).sum()


def plain(config: TrainConfig) -> TrainConfig:
    """The config without what a bare loop has no counterpart for: teacher, clips, validation, class weights."""
    return config.model_copy(
        update={
            "sources": tuple(source.model_copy(update={"is_distilled": False}) for source in config.sources),
            "distil": Distil(),
            "temporal": Temporal(),
            "validation": (),
            "losses": config.losses.model_copy(update={"class_weights": "none"}),
        }
    )


def training_rate(config: TrainConfig, steps: int, rounds: int) -> Comparison:
    """Take turns: `steps` counted steps of the real loop, `steps` of the bare one; the first round is not counted.

    Raises:
        EngineError: the config's data, weights or options cannot be used.
    """
    config = plain(config)
    uncounted = max(AHEAD, config.loader_threads + 1)
    per_round = uncounted + steps
    n_steps = per_round * (rounds + 1)
    schedule = config.schedule.model_copy(
        # No evaluation and no save in between: they are not what is asked here.
        update={"steps": n_steps, "evaluate_every": n_steps + 1, "save_every": n_steps + 1, "warm_up": 0}
    )
    turns = _Turns(BareLoop(config), steps, uncounted)
    with tempfile.TemporaryDirectory(prefix="segstream-bench-") as folder:
        outcome = run(config.model_copy(update={"schedule": schedule}), Path(folder), watchers=[turns])
    if not outcome.is_finished:  # the training took the signal for itself and ended in good order
        raise KeyboardInterrupt
    rates = {"training": Rates(tuple(turns.real[1:])), "bare loop": Rates(tuple(turns.bare[1:]))}
    conditions = {
        "config": config.name,
        "model": config.model.title,
        "precision": str(precision_of(config.precision, device_of(config.device))),
        "batch": config.schedule.batch,
        "crop_px": config.augment.crop_px,
        "threads": config.threads,
        "loader_threads": config.loader_threads,
        "left_out": "teacher, temporal loss, class weights, validation",
    }
    question = "How much of a bare loop's speed does the whole training reach?"
    return Comparison(question, "training", "bare loop", TRAINING_BAR, rates, conditions)


class _Turns(Watcher):
    """Holds the real loop between two steps and lets the bare one run."""

    def __init__(self, bare_loop: BareLoop, steps: int, uncounted: int) -> None:
        self.bare_loop = bare_loop
        self.steps = steps
        self.uncounted = uncounted
        self.real: list[float] = []
        self.bare: list[float] = []
        self._in_round = 0
        self._counted_from_s = time.monotonic()

    def stepped(self, facts: StepFacts) -> None:
        """Count, and at the end of a round take the other turn."""
        self._in_round += 1
        if self._in_round == self.uncounted:
            self._counted_from_s = time.monotonic()
        if self._in_round < self.uncounted + self.steps:
            return
        n_images = self.steps * len(facts.batch.labels)
        self.real.append(n_images / (time.monotonic() - self._counted_from_s))
        start_s = time.monotonic()
        n_bare = self.bare_loop.run(self.steps)
        self.bare.append(n_bare / (time.monotonic() - start_s))
        self._in_round = 0
