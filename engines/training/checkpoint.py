"""Checkpoints: what a network is, what its numbers mean, its weights, and how to go on training.

Written to a temporary name and renamed, so a file that exists is whole. Read with `weights_only=True`: a
checkpoint from elsewhere can hold wrong numbers but cannot run code. `weights` are the averaged ones, which
are evaluated and exported; `training` is there only in `last.pt`.
"""

import os
import pickle
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from engines.errors import CheckpointError
from engines.export import Meaning
from engines.models.deeplab import ModelConfig, build
from engines.spec import ResizeRule

__all__ = ["Checkpoint"]

FORMAT = 1


@dataclass
class Checkpoint:
    """A trained network as a file."""

    name: str
    model: ModelConfig
    meaning: Meaning
    weights: dict[str, Tensor]
    step: int = 0
    scores: dict[str, float] = field(default_factory=dict)
    trained_on: tuple[str, ...] = ()
    training: dict[str, Any] = field(default_factory=dict)
    """Raw weights, optimizer, average: only what `resume` needs."""

    def network(self) -> nn.Module:
        """The network in evaluation mode.

        Raises:
            CheckpointError: the weights do not fit the model they name.
        """
        model = build(self.model, len(self.meaning.classes))
        try:
            model.load_state_dict(self.weights, strict=True)
        except RuntimeError as error:
            first = " ".join(str(error).split())[:300]
            raise CheckpointError(f"checkpoint {self.name}: weights do not fit {self.model.name}: {first}") from error
        return model.eval()

    def save(self, path: Path) -> None:
        """Write the whole file or leave the old one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        stored = {
            "format": FORMAT,
            "name": self.name,
            "model": self.model.model_dump(mode="json"),
            "classes": list(self.meaning.classes),
            "palette": [list(colour) for colour in self.meaning.palette],
            "subject": self.meaning.subject,
            "resize": self.meaning.resize.value,
            "weights": self.weights,
            "step": self.step,
            "scores": self.scores,
            "trained_on": list(self.trained_on),
            "training": self.training,
        }
        with partial.open("wb") as file:
            torch.save(stored, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> "Checkpoint":
        """Read a file.

        Raises:
            CheckpointError: no such file, damaged, or not one of ours.
        """
        try:
            with warnings.catch_warnings():
                # torch wonders about files that are not its own before it refuses them; we refuse in one line.
                warnings.simplefilter("ignore")
                stored = torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError as error:
            raise CheckpointError(f"{path}: no such checkpoint; expected a .pt written by `engines train`") from error
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
            raise CheckpointError(f"{path}: cannot be read; expected a .pt written by `engines train`") from error
        if not isinstance(stored, dict) or stored.get("format") != FORMAT:
            raise CheckpointError(f"{path}: not a checkpoint of format {FORMAT}; expected a .pt of `engines train`")
        try:
            return cls(
                name=stored["name"],
                model=ModelConfig.model_validate(stored["model"]),
                meaning=Meaning(
                    tuple(stored["classes"]),
                    tuple((red, green, blue) for red, green, blue in stored["palette"]),
                    stored["subject"],
                    ResizeRule(stored["resize"]),
                ),
                weights=stored["weights"],
                step=stored["step"],
                scores=stored["scores"],
                trained_on=tuple(stored["trained_on"]),
                training=stored["training"],
            )
        except (KeyError, TypeError, ValueError, ValidationError) as error:
            raise CheckpointError(f"{path}: incomplete checkpoint ({error}); train it again") from error
