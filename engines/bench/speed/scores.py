"""How good the timed networks are, where one of them has been trained: from manifests and the ablation's outcomes.

The trap: scores of different data sets do not compare; each comes with its data set's name.
"""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engines.bench.ablation.outcome import outcomes_in
from engines.errors import EngineError
from engines.names import read_manifest, resolve

__all__ = ["Trained", "trained_networks"]

ROW_OF = {
    "v1 MobileNetV2": "v1-largefov",
    "v2 MobileNetV2": "v2-aspp-sum",
    "v3 MobileNetV2": "v3",
    "v3+ MobileNetV2": "v3plus",
}
"""Rows of the ablation: the same heads, with 128 channels."""

SHIPPED = ("v3+ MobileNetV2, 128 channels", "person", "P2/ccp/miou")
"""The network of the shipped engine, the engine, and the key of its score."""


@dataclass(frozen=True)
class Trained:
    """A score and what it is of."""

    miou: float
    data: str

    @property
    def text(self) -> str:
        """For a table."""
        return f"{100 * self.miou:.1f} ({self.data})"


def trained_networks(results: Path) -> Mapping[str, Trained]:
    """By the network's name in the tables."""
    found: dict[str, Trained] = {}
    outcomes = outcomes_in(results)
    for name, row in ROW_OF.items():
        plain = [
            score.miou
            for outcome in outcomes
            if outcome.row == row and outcome.profile == "cpu"
            for score in outcome.scores
            if (score.output_stride, score.has_crf, score.has_scales) == (16, False, False)
        ]
        if plain:
            seeds = "1 seed" if len(plain) == 1 else f"{len(plain)} seeds"
            found[name] = Trained(statistics.mean(plain), f"CamVid, 128 channels, {seeds}")
    name, engine, key = SHIPPED
    try:
        spec = resolve(engine)
        manifest = read_manifest(spec.path.parent / f"{spec.name}.json")
    except EngineError:
        return found
    for graph in manifest.graphs:
        if graph.file == spec.path.name and key in graph.scores:
            found[name] = Trained(graph.scores[key], f"{engine}, {key}")
    return found
