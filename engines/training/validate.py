"""The averaged weights on the config's validation sets.

The trap: a set is scored under the protocol it names (P1 without a size, P2 with one), and the mean over sets that
decides which checkpoint is best mixes them as the config says; only compare it with itself.
"""

from collections.abc import Mapping

from engines.data.datasets import Dataset, open_dataset
from engines.data.views import Part
from engines.evaluation.evaluate import Evaluation, Segmenter, evaluate
from engines.evaluation.networks import P1Network, P2Network
from engines.models.deeplab import DeepLab
from engines.spec import InputSpec
from engines.training.config import TrainConfig, Validation

__all__ = ["opened_sets", "recorded", "scored", "segmenter_of", "weighted_miou"]


def opened_sets(config: TrainConfig) -> dict[str, Dataset]:
    """Every validation set by its label, as much of it as its `limit` says.

    Raises:
        DataError: one of them cannot be read, or has other classes than the config.
    """
    sets: dict[str, Dataset] = {}
    for validation in config.validation:
        dataset = open_dataset(validation, config.classes)
        n = len(dataset) if validation.limit is None else min(validation.limit, len(dataset))
        sets[validation.title] = Part(dataset, range(n))
    return sets


def scored(network: DeepLab, config: TrainConfig, sets: Mapping[str, Dataset]) -> dict[str, Evaluation]:
    """Evaluate on every set."""
    return {v.title: evaluate(segmenter_of(network, config, v), sets[v.title]) for v in config.validation}


def weighted_miou(results: Mapping[str, Evaluation], config: TrainConfig) -> float:
    """What decides which checkpoint is best; 0 without a set that has a weight."""
    weights = {v.title: v.weight for v in config.validation}
    total = sum(weights.values())
    return sum(weights[label] * r.scores.miou for label, r in results.items()) / total if total else 0.0


def recorded(results: Mapping[str, Evaluation], config: TrainConfig) -> dict[str, float]:
    """The scores as a checkpoint notes them: `P1/ccp/miou`, `P2@512x288/ccp/miou`."""
    noted: dict[str, float] = {}
    for validation in config.validation:
        result = results[validation.title]
        protocol = f"P2@{validation.size}" if validation.size else result.protocol
        noted.update(result.recorded(f"{protocol}/{validation.title}"))
    return noted


def segmenter_of(network: DeepLab, config: TrainConfig, validation: Validation) -> Segmenter:
    """A network under the protocol that a validation set names."""
    if validation.size is None:
        return P1Network(network, config.classes)
    return P2Network(network, config.classes, InputSpec.of(validation.size, config.resize))
