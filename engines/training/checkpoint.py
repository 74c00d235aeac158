"""Checkpoints: what a network is, what its numbers mean, its weights, and how to go on training.

Written to a temporary name and renamed, so a file that exists is whole. Read with `weights_only=True`: a
checkpoint from elsewhere can hold wrong numbers but cannot run code. `weights` are the averaged ones, which
are evaluated and exported; `training` is there only in `last.pt`.
"""

import errno
import os
import pickle
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from engines.errors import CheckpointError
from engines.models.deeplab import DeepLab, ModelConfig, build
from engines.models.normalisation import NORMALISATIONS
from engines.size import Size
from engines.spec import InputSpec, Meaning, ResizeRule

__all__ = ["Checkpoint"]

FORMAT = 2
READABLE = (1, 2)
"""Format 1 had neither config nor origin, and two networks under other names."""
VERSION_IN_FORMAT_1 = {"deeplabv3plus": "v3plus", "deeplabv3": "voc"}


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
    config: dict[str, Any] = field(default_factory=dict)
    """The whole training's, as plain values."""
    origin: dict[str, str] = field(default_factory=dict)
    """`revision` of the code, `data` (fingerprint), `torch`: who made it, and from what."""
    input: InputSpec | None = None
    """Of the engine it was trained for; None where the config named no size, and in older files."""
    training: dict[str, Any] = field(default_factory=dict)
    """Raw weights, optimiser, average: only what `resume` needs."""

    def network(self) -> DeepLab:
        """The network in evaluation mode.

        Raises:
            CheckpointError: the weights do not fit the model they name.
        """
        model = build(self.model, len(self.meaning.classes))
        try:
            model.load_state_dict(self.weights, strict=True)
        except RuntimeError as error:
            first = " ".join(str(error).split())[:300]
            raise CheckpointError(f"checkpoint {self.name}: weights do not fit {self.model.title}: {first}") from error
        model.eval()
        return model

    def save(self, path: Path) -> None:
        """Write the whole file or leave the old one.

        Raises:
            CheckpointError: no space, or no right to write; what was there before is untouched.
        """
        try:
            self._write(path)
        except OSError as error:
            reason = error.strerror or str(error)
            if error.errno == errno.ENOSPC:
                reason = "no space left on the disk"
            kept = "the older file is untouched" if path.exists() else "free some space or choose another --out"
            raise CheckpointError(f"{path}: cannot be written ({reason}); {kept}") from error

    def _write(self, path: Path) -> None:
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
            "size": None if self.input is None else str(self.input.size),
            "weights": self.weights,
            "step": self.step,
            "scores": self.scores,
            "trained_on": list(self.trained_on),
            "normalisation": NORMALISATIONS[self.model.normalisation].text,
            "config": self.config,
            "origin": {"torch": str(torch.__version__), **self.origin},
            "training": self.training,
        }
        try:
            with partial.open("wb") as file:
                try:
                    torch.save(stored, file)
                except RuntimeError as error:
                    # torch's writer hides why the file would not take more.
                    raise OSError(errno.EIO, "the file would not take more; is the disk full?") from error
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise

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
        if not isinstance(stored, dict) or "format" not in stored:
            raise CheckpointError(f"{path}: not a checkpoint; expected a .pt written by `engines train`")
        if stored["format"] not in READABLE:
            raise CheckpointError(
                f"{path}: a checkpoint of format {stored['format']}, this version reads "
                f"{READABLE[0]} to {READABLE[-1]}; use the version that wrote it, or train again"
            )
        try:
            return cls(
                name=stored["name"],
                model=ModelConfig.model_validate(_present_names(stored["model"])),
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
                config=stored.get("config", {}),
                origin=stored.get("origin", {}),
                input=_input(stored),
                training=stored["training"],
            )
        except (KeyError, TypeError, ValueError, ValidationError) as error:
            raise CheckpointError(f"{path}: incomplete checkpoint ({error}); train it again") from error


def _input(stored: dict[str, Any]) -> InputSpec | None:
    size = stored.get("size")
    return None if size is None else InputSpec.of(Size.from_text(size), ResizeRule(stored["resize"]))


def _present_names(model: dict[str, Any]) -> dict[str, Any]:
    """The model's options as they are called now."""
    if "name" not in model:
        return model
    model = {**model, "version": VERSION_IN_FORMAT_1.get(model["name"], model["name"]), "dropout": 0.0}
    del model["name"]
    return model
