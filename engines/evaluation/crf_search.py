"""Search of a dense CRF's parameters: one at a time, from the better preset, in wide steps and then in narrow ones.

The trap: what it finds is the best of some twenty trials and therefore partly luck; its score on the pictures it was
found on counts for nothing. `crf_tuning` confirms it on others.
"""

from collections.abc import Callable
from dataclasses import dataclass

from engines.crf import PRESETS
from engines.errors import EngineError
from engines.manifest import CrfSetting

__all__ = ["MOST_TRIALS", "Score", "Trial", "search"]

FACTORS = (2.0, 1.5)
"""A pass over the parameters each: wide steps, then narrower ones."""
BOUNDS = {
    "w1": (0.25, 40.0),
    "sigma_beta": (2.0, 60.0),
    "sigma_alpha": (10.0, 320.0),
    "w2": (0.25, 20.0),
    "sigma_gamma": (0.5, 20.0),
    "iterations": (1.0, 10.0),
}
"""What is turned, in this order, and between which values."""
MOST_TRIALS = len(PRESETS) + 2 * len(BOUNDS) * len(FACTORS)

Score = Callable[[CrfSetting], float]


@dataclass(frozen=True)
class Trial:
    """One setting on the pictures that are searched on."""

    setting: CrfSetting
    miou: float


def search(score: Score, method: str) -> list[Trial]:
    """Try settings, the best first in the result.

    Args:
        score: mIoU of a setting; EngineError where the setting cannot be computed, which rules it out.
        method: of all settings.
    """
    trials = [_tried(CrfSetting(**params.model_dump(), method=method), score) for params in PRESETS.values()]
    best = max(trials, key=lambda trial: trial.miou)
    for factor in FACTORS:
        for name in BOUNDS:
            for towards in (factor, 1 / factor):
                setting = _turned(best.setting, name, towards)
                if any(trial.setting == setting for trial in trials):
                    continue
                trials.append(_tried(setting, score))
                if trials[-1].miou > best.miou:
                    best = trials[-1]
                    break
    return sorted(trials, key=lambda trial: -trial.miou)


def _tried(setting: CrfSetting, score: Score) -> Trial:
    try:
        return Trial(setting, score(setting))
    except EngineError:  # widths that the lattice cannot name at this size: no candidate
        return Trial(setting, float("-inf"))


def _turned(setting: CrfSetting, name: str, factor: float) -> CrfSetting:
    """The same with one parameter times `factor`, with two digits, within its bounds."""
    low, high = BOUNDS[name]
    value = min(high, max(low, float(f"{getattr(setting, name) * factor:.2g}")))
    return setting.model_copy(update={name: round(value) if name == "iterations" else value})
