"""How a network is trained: rates and their schedule, losses, batch norm, distillation; options only.

The defaults fine-tune a pretrained MobileNetV2 with AdamW. The papers' own settings (SGD 0.007, poly 0.9) are in
the ready trainings of `configs/train`.
"""

from enum import StrEnum
from typing import Literal

from pydantic import Field, model_validator

from configs import Options
from engines.data.loader import Source

__all__ = ["BatchNorm", "Distil", "Losses", "Optimiser", "Schedule", "Statistics", "Temporal"]


class Schedule(Options):
    """How long, how much at once, how often."""

    steps: int = Field(1500, gt=0)
    """Steps of the optimiser."""
    batch: int = Field(16, gt=1)
    """Pictures a step, over all processes and accumulated parts together."""
    accumulate: int = Field(1, gt=0)
    """Parts a process's share of the batch is computed in: memory falls, the step stays the same. But for `dice`,
    `ohem` and `lovasz`, which look at many pixels at once: they become the mean of the parts' own values."""
    policy: Literal["poly", "step", "cosine", "constant"] = "poly"
    """poly: (1 - step / steps) ** power (Liu et al. 2015; DeepLab from v2 on). step: v1's."""
    power: float = Field(0.9, gt=0)
    """Of poly."""
    step_every: int = Field(2000, gt=0)
    """Steps after which the rate falls, of the policy `step` (v1: every 2000)."""
    step_factor: float = Field(0.1, gt=0, lt=1)
    """By which it falls then."""
    warm_up: int = Field(30, ge=0)
    """Steps over which the learning rates rise."""
    average_decay: float = Field(0.995, ge=0, lt=1)
    """Of the averaged weights, which are what is kept; 0 keeps the last ones."""
    evaluate_every: int = Field(300, gt=0)
    """Steps."""
    save_every: int = Field(100, gt=0)
    """Steps; what a kill may cost at most."""

    @model_validator(mode="after")
    def _parts_fit(self) -> "Schedule":
        if self.batch % self.accumulate:
            raise ValueError(f"batch {self.batch} cannot be split into {self.accumulate} equal parts (accumulate)")
        return self


class Optimiser(Options):
    """Which rule moves which weights how far."""

    kind: Literal["adamw", "sgd"] = "adamw"
    backbone_lr: float = Field(1.5e-4, ge=0)
    """Learning rate of everything in `backbone.`"""
    head_lr: float = Field(1.5e-3, ge=0)
    """Of everything else: the papers take 10 times the backbone's, because it starts from noise."""
    bias_factor: float = Field(1.0, gt=0)
    """Learning rate of biases against that of weights (v1 and v2: 2)."""
    weight_decay: float = Field(0.01, ge=0)
    """Of weights; norms and biases have none."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Of sgd."""
    nesterov: bool = False
    """Of sgd."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Of adamw."""
    clip_norm: float = Field(0.0, ge=0)
    """Gradients longer than this are scaled down to it; 0 does not."""
    frozen_blocks: int = Field(0, ge=0)
    """The first so many blocks of the backbone keep their weights and statistics."""
    with_backbone: tuple[str, ...] = ()
    """Parts of the head that came pretrained, such as `aspp`: they have the backbone's learning rate and batch norm."""
    frozen: tuple[str, ...] = ()
    """Layers and parameters that keep their values, by their whole names, such as `backbone.features.0`."""


class Statistics(StrEnum):
    """Where batch norm takes mean and variance from, and whether it learns them."""

    TRAIN = "train"
    """The batch's own; remembered with torch's momentum (0.1)."""
    SLOW = "slow"
    """The batch's own; remembered with `batch_norm.momentum`."""
    FROZEN = "frozen"
    """The ones the weights came with. Scale and offset do learn."""
    SYNC = "sync"
    """The batch's own over all processes; GPU only."""


class BatchNorm(Options):
    """Batch norm's statistics, apart for backbone and head."""

    backbone: Statistics | None = None
    """By default frozen with pretrained weights, which saw far more pictures than a batch of 16, else train."""
    head: Statistics = Statistics.TRAIN
    momentum: float = Field(0.01, gt=0, le=1)
    """Of `slow`: the share of the newest batch in the remembered statistics."""


class Losses(Options):
    """Weights of the terms that are added; a term of weight 0 is not computed."""

    cross_entropy: float = Field(1.0, ge=0)
    dice: float = Field(1.0, ge=0)
    """Soft dice of the classes that occur (Milletari et al. 2016), in the whole batch; with `schedule.accumulate` in
    each part."""
    ohem: float = Field(0.0, ge=0)
    """Cross-entropy of the hard pixels alone (Shrivastava et al. 2016), of each process and accumulated part."""
    lovasz: float = Field(0.0, ge=0)
    """Lovasz-softmax: a surrogate of the IoU itself (Berman et al. 2018), of each process and accumulated part."""
    boundary: float = Field(0.0, ge=0)
    """Cross-entropy of the pixels near a contour alone."""
    boundary_px: int = Field(3, gt=0)
    """How near, in pixels of the crop."""
    ohem_probability: float = Field(0.7, gt=0, le=1)
    """A pixel is hard when its true class gets less than this."""
    ohem_share: float = Field(0.0625, gt=0, le=1)
    """At least this share of the pixels counts as hard."""
    class_weights: Literal["none", "median-frequency", "sqrt"] | tuple[float, ...] = "none"
    """In cross-entropy and its relatives. From the training set's pixels: the median share of a class over its own
    (Eigen and Fergus 2015), its square root, or a list."""

    @model_validator(mode="after")
    def _some_term(self) -> "Losses":
        if not any((self.cross_entropy, self.dice, self.ohem, self.lovasz, self.boundary)):
            raise ValueError("all terms have weight 0; nothing could be learnt from labels")
        return self


class Distil(Options):
    """Learning from the teacher's soft labels (Hinton et al. 2015), on crops of sources with `is_distilled`."""

    weight: float = Field(1.0, ge=0)
    """Of the divergence from the teacher, per pixel of a distilled crop; its mean is over all pixels of the batch's
    pictures. Black bars do not count, as they do not for labels."""
    labelled: float = Field(0.0, ge=0)
    """The same for crops of all other sources."""
    temperature: float = Field(1.0, gt=0)
    """Above 1 softens both sides; the term is scaled by its square, as in the paper."""
    sure: float = Field(0.0, ge=0, lt=1)
    """Pixels where the teacher's best class has less than this probability are left out."""


class Temporal(Options):
    """The same answer for the same thing in consecutive frames of unlabelled clips."""

    weight: float = Field(0.0, ge=0)
    """Of the mean squared difference of warped probabilities; 0 reads no clips."""
    batch: int = Field(4, gt=0)
    """Pairs of frames a step."""
    sources: tuple[Source, ...] = ()
    """Clips, or folders of frames in name order."""
    max_difference: float = Field(0.08, gt=0)
    """Where the warped picture differs more than this (of 1) the flow is not trusted."""

    @model_validator(mode="after")
    def _has_clips(self) -> "Temporal":
        if self.weight and not self.sources:
            raise ValueError("a temporal loss needs `sources`: clips, or folders of frames")
        return self
