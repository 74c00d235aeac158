"""A training, as its YAML file holds it: what is trained on what, and how it is scored.

How it is trained (rates, losses, batch norm, distillation) is in `engines.training.recipe`. A config is all that
a run needs: the same file, seed and number of processes give the same weights on the same machine.
"""

import re
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from configs import Options
from engines.data.datasets import DatasetOptions
from engines.data.loader import Source
from engines.data.transforms import Augment
from engines.models.deeplab import ModelConfig
from engines.size import ServedSize
from engines.spec import InputSpec, Meaning, Palette, ResizeRule
from engines.training.delivery import Delivery
from engines.training.recipe import BatchNorm, Distil, Losses, Optimiser, Schedule, Temporal

__all__ = ["Precision", "Schedule", "TrainConfig", "Validation"]


FRAME_ASPECT = 16 / 9
"""Width by height of the frames a stream is expected to bring, where they are to be stretched."""


class Precision(StrEnum):
    """The arithmetic of the network; losses, weights and averages are float32 always."""

    AUTO = "auto"
    """bf16 on a GPU and on a CPU that has it in hardware, else fp32."""
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    """GPU only, with a scaled loss."""


class Validation(DatasetOptions):
    """A labelled set that the averaged weights are scored on while training."""

    name: str | None = None
    """In scores and reports; by default the prefix, else the last part of the path."""
    size: ServedSize | None = None
    """`WxH` scores under P2 at this size; without it P1 (longer side 512)."""
    weight: float = Field(1.0, ge=0)
    """Of its mIoU in the mean that decides which checkpoint is best; 0 only watches."""
    limit: int | None = Field(None, gt=0)
    """At most so many pictures."""

    @property
    def title(self) -> str:
        """The name, or what stands for it."""
        return self.name or self.prefix.strip("_") or self.path.name or str(self.format or "validation")


class TrainConfig(Options):
    """One training."""

    name: str
    """Of the engine that comes of it: letters, digits, and - _ . between them."""
    classes: tuple[str, ...] = Field(min_length=2)
    """Class 0 is the background where there is one."""
    palette: Palette
    """(R, G, B) of each class, for pictures."""
    subject: str | None = None
    """The class that an alpha matte shows; None gives labels only."""
    resize: ResizeRule = ResizeRule.LETTERBOX
    """How the stream brings frames to the engine's size; crops are made by the same rule, see `augment.stretch`."""
    seed: int = Field(0, ge=0)
    """Of crops, initial weights and dropout."""
    threads: int = Field(2, gt=0)
    """CPU threads of the network's arithmetic."""
    loader_threads: int = Field(1, gt=0)
    """Threads that make crops; the crops do not depend on it."""
    cache_mb: float = Field(1024, ge=0)
    """Decoded pictures that stay in memory."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1`; `auto` takes a GPU where there is one."""
    precision: Precision = Precision.AUTO
    compile: bool = False
    """`torch.compile`: minutes to start, then faster on a GPU."""
    model: ModelConfig = ModelConfig()
    backbone_weights: str | None = None
    """`.npz` or `.pth` with torchvision's names, `imagenet` for the published ones; None starts from noise."""
    init_from: Path | None = None
    """A checkpoint to start from; its head is kept only when the classes are the same."""
    init_share: float = Field(1.0, gt=0, le=1)
    """Below 1, what `backbone_weights` fills starts between the two: so much of `init_from`, the rest published. A
    network that was trained on few kinds of pictures gets back part of what it forgot (Wortsman et al. 2022)."""
    teacher: Path | None = None
    """Pascal VOC `.npz`, a checkpoint or an ONNX graph: asked where a source distrusts its labels, and by `distil`."""
    sources: tuple[Source, ...] = Field(min_length=1)
    """What is trained on."""
    validation: tuple[Validation, ...] = ()
    """One set or several; their weighted mean mIoU decides which checkpoint is best."""
    augment: Augment = Augment()
    schedule: Schedule = Schedule()
    optimiser: Optimiser = Optimiser()
    losses: Losses = Losses()
    batch_norm: BatchNorm = BatchNorm()
    distil: Distil = Distil()
    temporal: Temporal = Temporal()
    export: Delivery | None = None
    """The engine that a finished training becomes, in OUT/engine; None leaves it to `engines export`."""
    trained_on: tuple[str, ...] = ()
    """What the model card and the manifest say about the data."""

    @field_validator("name")
    @classmethod
    def _names_files(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_][\w.-]*", name, re.ASCII):
            raise ValueError("the engine's files are called so: expected letters, digits, '-', '_' and '.'")
        return name

    @field_validator("validation", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, dict) else value or ()

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        _ = self.meaning  # refuses what cannot be
        twice = [name for name, n in Counter(self.classes).items() if n > 1]
        if twice:
            raise ValueError(f"class {twice[0]!r} is named twice; scores are told by name, so each needs its own")
        labels = [validation.title for validation in self.validation]
        if len(set(labels)) != len(labels):
            raise ValueError(f"validation sets need different names, got {labels}; give each a `name`")
        if self.teacher is None and (self.distil.labelled > 0 or any(source.is_distilled for source in self.sources)):
            raise ValueError("distillation needs a `teacher`: a Pascal VOC .npz, a checkpoint or an ONNX graph")
        if self.init_share < 1 and (self.init_from is None or self.backbone_weights in {None, "none"}):
            raise ValueError(
                f"init_share {self.init_share:g} is a mix of two: name `init_from` and published `backbone_weights`"
            )
        weights = self.losses.class_weights
        if isinstance(weights, tuple) and len(weights) != len(self.classes):
            raise ValueError(f"losses.class_weights has {len(weights)} values for {len(self.classes)} classes")
        return self

    @property
    def meaning(self) -> Meaning:
        """What the checkpoint's numbers stand for."""
        return Meaning(self.classes, self.palette, self.subject, self.resize)

    @property
    def input(self) -> InputSpec | None:
        """Of the engine this is for: the first size of `export`, else of a validation set; None where none is named."""
        named = self.export.sizes if self.export is not None else ()
        sizes = (*named, *(validation.size for validation in self.validation if validation.size is not None))
        return InputSpec.of(sizes[0], self.resize) if sizes else None

    @property
    def crops(self) -> Augment:
        """`augment`, with the `stretch` that follows from `resize` where it gives none."""
        if self.augment.stretch is not None or self.resize is not ResizeRule.STRETCH or self.input is None:
            return self.augment
        stretch = self.input.width / self.input.height / FRAME_ASPECT
        return self.augment.model_copy(update={"stretch": stretch})
