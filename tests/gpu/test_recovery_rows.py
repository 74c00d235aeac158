"""The report's stream that loses a worker, with the fake engine."""

import pytest
import torch

from tests.gpu.recovery_rows import recovery_rows


@pytest.mark.slow
@pytest.mark.stream
def test_a_killed_worker_comes_back_cold_and_by_its_standby() -> None:
    """Both rows are right: who followed, and that every frame is accounted for; on a CPU nothing is timed."""
    cold, warm = recovery_rows(torch.device("cpu"))

    assert (cold.is_right, warm.is_right) == (True, True)
    assert (cold.facts["by"], warm.facts["by"]) == ("restart", "standby")
    assert (cold.ms, warm.ms) == (None, None)
