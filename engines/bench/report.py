"""What a benchmark leaves: one JSON file with the question, the figures, the bar and the machine.

The trap: a figure without the load of its machine cannot be compared; the load average before and after is kept.
"""

import importlib.metadata
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engines.bench.rounds import Rates, ratio
from engines.machine import machine_facts

__all__ = ["Comparison", "library_versions", "load_average", "machine_line"]

LIBRARIES = ("torch", "openvino", "onnxruntime", "numpy", "opencv-python")


@dataclass(frozen=True)
class Comparison:
    """Is the first at least `bar` times as fast as the second?"""

    question: str
    first: str
    second: str
    bar: float
    rates: Mapping[str, Rates]
    conditions: Mapping[str, object] = field(default_factory=dict)
    """Config, sizes, threads: what somebody needs to measure the same again."""

    @property
    def ratio(self) -> float:
        """The median over the rounds."""
        return ratio(self.rates[self.first], self.rates[self.second])

    @property
    def is_met(self) -> bool:
        """Whether the bar is reached."""
        return self.ratio >= self.bar

    def as_json(self) -> dict[str, object]:
        """Everything, with the machine."""
        return {
            "question": self.question,
            "ratio": round(self.ratio, 3),
            "of": [self.first, self.second],
            "bar": self.bar,
            "is_met": self.is_met,
            "rates": {name: rates.as_json() for name, rates in self.rates.items()},
            "conditions": dict(self.conditions),
            "machine": machine_facts(),
            "load_average": load_average(),
            "libraries": library_versions(),
        }

    def write(self, path: Path) -> None:
        """As a JSON file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.as_json(), indent=2) + "\n", encoding="utf-8")

    def lines(self) -> list[str]:
        """For the terminal: a line a contender, and the verdict."""
        width = max(map(len, self.rates))
        told = [
            f"  {name:{width}}  {rates.median:8.1f} /s   ({min(rates.per_s):.1f} to {max(rates.per_s):.1f}"
            f" over {len(rates.per_s)} rounds)"
            for name, rates in self.rates.items()
        ]
        verdict = "met" if self.is_met else "MISSED"
        return [
            self.question,
            *told,
            f"  {self.first} / {self.second}: {self.ratio:.2f}; bar {self.bar:.1f}: {verdict}",
        ]


def machine_line() -> str:
    """The machine in one line, for tables."""
    facts = machine_facts()
    return f"{facts['cpu']}, {facts['usable_cores']} cores, {facts['nvidia']}, Python {facts['python']}"


def load_average() -> list[float]:
    """Over 1, 5 and 15 minutes; empty where the system has none."""
    return [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else []


def library_versions() -> dict[str, str]:
    """Of the libraries that do the work, as far as they are installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
