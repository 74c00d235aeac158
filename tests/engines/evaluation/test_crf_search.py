"""The search of a CRF's parameters finds a hill's top and stays within bounds; no CRF runs here."""

import math

import pytest

from engines.errors import EngineError
from engines.evaluation.crf_search import BOUNDS, MOST_TRIALS, search
from engines.manifest import CrfSetting


def _hill(setting: CrfSetting) -> float:
    """Highest at w1 2 and sigma_beta 6; the rest does not matter."""
    return -abs(math.log(setting.w1 / 2)) - abs(math.log(setting.sigma_beta / 6))


def test_the_search_climbs_from_the_better_preset() -> None:
    """`deeplab` is nearer; halving w1 and doubling sigma_beta reach the top, and the best comes first."""
    trials = search(_hill, "exact")

    assert (trials[0].setting.w1, trials[0].setting.sigma_beta) == (2.0, 6.0)
    assert trials[0].miou == max(trial.miou for trial in trials)
    assert {trial.setting.method for trial in trials} == {"exact"}


def test_no_setting_is_tried_twice_and_there_are_not_more_than_told() -> None:
    """A progress bar may rely on it."""
    tried: list[CrfSetting] = []

    search(lambda setting: (tried.append(setting), setting.w1)[1], "fast")

    assert len(set(tried)) == len(tried) <= MOST_TRIALS


@pytest.mark.parametrize("direction", [1, -1])
def test_parameters_stay_within_their_bounds(direction: int) -> None:
    """However the scores pull; iterations stay whole."""
    trials = search(lambda s: direction * (s.w1 + s.w2 + s.sigma_beta + s.sigma_gamma + s.iterations), "fast")

    for name, (low, high) in BOUNDS.items():
        assert all(low <= getattr(trial.setting, name) <= high for trial in trials), name


def test_a_setting_that_cannot_be_computed_is_no_candidate() -> None:
    """Widths that the lattice cannot name at the engine's size are passed over."""

    def score(setting: CrfSetting) -> float:
        if setting.sigma_beta > 3:
            raise EngineError("too wide for this test")
        return 0.5

    assert search(score, "fast")[0].setting.sigma_beta == 3
