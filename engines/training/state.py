"""Everything that a step changes, and its way into a checkpoint and back.

The trap: nothing else may carry over from one step to the next, else a resumed run differs. Random numbers do not:
they are drawn anew from (seed, step, process) before each step.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from engines.errors import CheckpointError, TrainingError
from engines.models.deeplab import DeepLab
from engines.training.checkpoint import Checkpoint
from engines.training.config import TrainConfig
from engines.training.provenance import changed_keys, revision
from engines.training.schedules import Average

__all__ = ["TrainingState", "seed_for"]


@dataclass
class TrainingState:
    """What is saved and resumed."""

    model: DeepLab
    average: Average
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    data: str = ""
    """Fingerprint of the training set."""
    step: int = 0
    best_miou: float = 0.0
    scores: dict[str, float] = field(default_factory=dict)
    """The newest ones."""

    def averaged(self, config: TrainConfig) -> Checkpoint:
        """The averaged weights, as they are evaluated and exported."""
        return Checkpoint(
            name=config.name,
            model=config.model,
            meaning=config.meaning,
            weights={name: value.detach().cpu().contiguous().clone() for name, value in self.average.weights.items()},
            step=self.step,
            scores=dict(self.scores),
            trained_on=config.trained_on,
            config=config.model_dump(mode="json"),
            origin={"revision": revision(), "data": self.data},
            input=config.input,
        )

    def whole(self, config: TrainConfig) -> Checkpoint:
        """All that resuming needs.

        Raises:
            TrainingError: a weight is not a number; saving it would spoil the last good checkpoint.
        """
        for name, value in self.model.state_dict().items():
            if value.is_floating_point() and not torch.isfinite(value).all():
                raise TrainingError(
                    f"step {self.step}: {name} holds numbers that are not finite; nothing was saved over the last good "
                    "checkpoint. Lower the learning rate, or set optimiser.clip_norm"
                )
        checkpoint = self.averaged(config)
        checkpoint.training = {
            "model": {name: value.detach().cpu() for name, value in self.model.state_dict().items()},
            "optimiser": _on_cpu(self.optimiser.state_dict()),
            "scaler": self.scaler.state_dict(),
            "average_updates": self.average.n_updates,
            "best_miou": self.best_miou,
        }
        return checkpoint

    def restore(self, stored: Checkpoint, config: TrainConfig) -> None:
        """Go on from a checkpoint of `whole`.

        Raises:
            CheckpointError: it holds no training, or that of another network, of other classes, or another optimiser.
        """
        # Other strides, another normalisation or order of classes would fit the weights and be wrong in silence.
        changed = changed_keys(
            {"model": stored.model.model_dump(), "classes": stored.meaning.classes},
            {"model": config.model.model_dump(), "classes": config.classes},
        )
        if changed:
            raise CheckpointError(
                f"checkpoint {stored.name}: the config asks for another network ({', '.join(changed)}); "
                "resume with the config it was made with, or start anew with init_from"
            )
        kept = stored.training
        if not kept:
            raise CheckpointError(f"checkpoint {stored.name}: weights only; resume from last.pt, or use init_from")
        try:
            self.model.load_state_dict(kept["model"])
            self.optimiser.load_state_dict(kept["optimiser"])
            self.scaler.load_state_dict(kept["scaler"])
            self.average.n_updates = kept["average_updates"]
            self.step, self.best_miou, self.scores = stored.step, kept["best_miou"], dict(stored.scores)
        except (KeyError, ValueError, RuntimeError) as error:
            first = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"checkpoint {stored.name}: was written by another network, optimiser or version ({first}); "
                "resume with the config it was made with, or start anew with init_from"
            ) from error
        for name, value in self.average.weights.items():
            value.copy_(stored.weights[name])


def seed_for(seed: int, step: int, rank: int) -> int:
    """Of torch's generators at a step; independent streams from neighbouring numbers."""
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _on_cpu(tree: object) -> object:
    if isinstance(tree, Tensor):
        return tree.detach().cpu()
    if isinstance(tree, dict):
        return {key: _on_cpu(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_on_cpu(value) for value in tree]
    return tree
