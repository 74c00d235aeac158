"""Which networks an ablation trains, how long, and how each is scored.

A row is a few overrides of one ground config. The trap: a learning-rate plan in steps belongs to one length of
training, so `step` is written as a share of the whole and turned into steps here.
"""

import math
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from configs import ConfigError, Options, load
from engines.data.datasets import open_dataset
from engines.size import ServedSize
from engines.training.config import TrainConfig

__all__ = ["Ablation", "Profile", "Row", "config_of"]

STEP_SHARE = 3
"""The rate falls after each third of the training: v1's 2000 of 6000 steps."""


class Row(Options):
    """One network."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    """Of its files."""
    title: str
    """In the table."""
    overrides: tuple[str, ...] = ()
    """Of the ground config: `model.version=v1`."""
    policy: Literal["poly", "step"] = "poly"
    """Of the learning rate; step: x 0.1 after each third, as in v1."""


class Profile(Options):
    """What a machine can afford."""

    size: ServedSize
    """`WxH` at which pictures are scored, in multiples of 32."""
    output_strides: tuple[Literal[8, 16], ...] = (16,)
    """Each network is trained at 16 and scored at each of these."""
    overrides: tuple[str, ...] = ()
    """Of the ground config, below a row's own."""


class Ablation(Options):
    """The whole of it."""

    name: str
    ground: Path
    """The training that every row changes; its validation set is what rows are scored on."""
    epochs: float = Field(gt=0)
    """Times through the training pictures."""
    seeds: tuple[int, ...] = Field(min_length=1)
    """A training each."""
    scales: tuple[float, ...] = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    """Averaged, with their mirror images, for the columns "MS + flip"."""
    crf_preset: str = "deeplab"
    """Of `engines.crf`."""
    crf_iterations: int = Field(10, gt=0)
    """Of mean field; 10 in the papers."""
    cpu: Profile
    gpu: Profile
    rows: tuple[Row, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _rows_apart(self) -> "Ablation":
        names = [row.name for row in self.rows]
        if len(set(names)) != len(names):
            raise ValueError(f"rows need different names, got {names}")
        return self

    def row(self, name: str) -> Row:
        """By its name.

        Raises:
            ConfigError: there is no such row.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise ConfigError(f"ablation {self.name} has no row {name!r}; rows: {', '.join(row.name for row in self.rows)}")


def config_of(plan: Ablation, row: Row, seed: int, profile: Profile, epochs: float | None = None) -> TrainConfig:
    """The training of one row and one seed; it is scored after its last step, not on the way.

    Raises:
        ConfigError, DataError: the ground config or its data cannot be read, or an override does not fit.
    """
    ground = load(TrainConfig, plan.ground, [*profile.overrides, *row.overrides])
    n_pictures = sum(len(open_dataset(source, len(ground.classes))) for source in ground.sources)
    steps = max(1, math.ceil((epochs or plan.epochs) * n_pictures / ground.schedule.batch))
    schedule: dict[str, Any] = {
        "steps": steps,
        "evaluate_every": steps,
        "save_every": max(1, min(ground.schedule.save_every, steps)),
        "policy": row.policy,
        "step_every": max(1, steps // STEP_SHARE),
        "warm_up": min(ground.schedule.warm_up, steps // 10),
    }
    return ground.model_copy(
        update={
            "name": f"{plan.name}-{row.name}-{seed}",
            "seed": seed,
            "schedule": ground.schedule.model_copy(update=schedule),
            # The last weights are scored, whatever they are: choosing the best step on val would flatter every row.
            "validation": (),
        }
    )
