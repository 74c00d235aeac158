"""The options of a training, as its YAML file holds them."""

from pathlib import Path

from pydantic import Field, model_validator

from configs import Options
from engines.data.loader import Source
from engines.data.transforms import Augment
from engines.export import Meaning
from engines.models.deeplab import ModelConfig
from engines.spec import ResizeRule

__all__ = ["Schedule", "TrainConfig", "Validation"]


class Schedule(Options):
    """How long, how fast, how often."""

    steps: int = Field(1500, gt=0)
    batch: int = Field(16, gt=1)
    backbone_lr: float = Field(1.5e-4, gt=0)
    head_lr: float = Field(1.5e-3, gt=0)
    power: float = Field(0.9, gt=0)
    warm_up: int = Field(30, ge=0)
    """Steps over which the learning rates rise."""
    weight_decay: float = Field(0.01, ge=0)
    dice_weight: float = Field(1.0, ge=0)
    average_decay: float = Field(0.995, ge=0, lt=1)
    """Of the averaged weights, which are what is kept."""
    evaluate_every: int = Field(300, gt=0)
    save_every: int = Field(100, gt=0)


class Validation(Options):
    """What the averaged weights are scored on while training (protocol P1)."""

    path: Path
    prefix: str = ""


class TrainConfig(Options):
    """One training."""

    name: str
    classes: tuple[str, ...] = Field(min_length=2)
    palette: tuple[tuple[int, int, int], ...]
    subject: str | None = None
    resize: ResizeRule = ResizeRule.LETTERBOX
    seed: int = 0
    threads: int = Field(2, gt=0)
    is_bf16: bool = True
    """bf16 autocast: twice as fast on a CPU that has it, slower on one that has not."""
    model: ModelConfig = ModelConfig()
    backbone_weights: Path | None = None
    """`.npz` with torchvision's names; None starts from noise."""
    teacher: Path | None = None
    """Pascal VOC `.npz`, asked where a source distrusts its labels."""
    sources: tuple[Source, ...] = Field(min_length=1)
    validation: Validation | None = None
    augment: Augment = Augment()
    schedule: Schedule = Schedule()
    trained_on: tuple[str, ...] = ()
    """What the model card and the manifest say about the data."""

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        if len(self.palette) != len(self.classes):
            raise ValueError(f"palette has {len(self.palette)} colours for {len(self.classes)} classes")
        if self.subject is not None and self.subject not in self.classes:
            raise ValueError(f"subject {self.subject!r} is not one of the classes {list(self.classes)}")
        return self

    @property
    def meaning(self) -> Meaning:
        """What the checkpoint's numbers stand for."""
        return Meaning(self.classes, self.palette, self.subject, self.resize)
