"""The smallest training there is, changed by overrides: for tests of its parts."""

from pathlib import Path

from configs import load
from engines.training.config import TrainConfig
from tests.engines.toy import train_yaml, write_folder

FROZEN = ("batch_norm.backbone=frozen", "batch_norm.head=frozen")
"""With frozen statistics and no dropout a step is the same however its batch is split."""


def small_config(folder: Path, *overrides: str, steps: int = 6) -> TrainConfig:
    """A quarter-width network on six pictures; `overrides` as on the command line."""
    path = folder / "small.yaml"
    if not path.exists():
        train_yaml(path, write_folder(folder / "data", 6))
    fixed = (
        f"schedule.steps={steps}", "threads=1", "model.width=0.25", "model.dropout=0", "model.atrous_rates=[2]",
        "optimiser.head_lr=0.01", "validation=null",
    )  # fmt: skip
    return load(TrainConfig, path, (*fixed, *overrides))
