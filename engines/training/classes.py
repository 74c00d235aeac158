"""Weights of classes, from a list or from how often they occur in the training set."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engines.data import IGNORE
from engines.data.loader import TrainingSet
from engines.training.config import TrainConfig

__all__ = ["class_weights", "median_frequency"]


def class_weights(config: TrainConfig, training_set: TrainingSet, device: torch.device) -> Tensor | None:
    """(C,) float32, or None when all classes count alike."""
    wanted = config.losses.class_weights
    if wanted == "none":
        return None
    if isinstance(wanted, tuple):
        return torch.tensor(wanted, dtype=torch.float32, device=device)
    label_maps = (pair.label_map for group in training_set.groups for pair in group.pairs)
    weights = median_frequency(label_maps, len(config.classes))
    return torch.from_numpy(np.sqrt(weights) if wanted == "sqrt" else weights).float().to(device)


def median_frequency(label_maps: Iterable[NDArray[np.uint8]], n_classes: int) -> NDArray[np.float64]:
    """median(f) / f of each class (Eigen and Fergus 2015, section 6.3.2); a class that never occurs has 1.

    f is a class's pixels over all counted pixels of the pictures in which it occurs.
    """
    pixels, seen_in = np.zeros(n_classes), np.zeros(n_classes)
    for label_map in label_maps:
        counts = np.bincount(label_map[label_map != IGNORE].ravel(), minlength=n_classes)[:n_classes]
        pixels += counts
        seen_in += np.where(counts > 0, counts.sum(), 0)
    occurs = pixels > 0
    frequency = pixels[occurs] / seen_in[occurs]
    weights = np.ones(n_classes)
    if occurs.any():
        weights[occurs] = np.median(frequency) / frequency
    return weights
