"""Trying a training out: what would happen, and what fits; nothing is written."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from torch import Tensor

from configs import ConfigError
from engines.__main__ import cli
from engines.errors import TrainingError
from engines.training import supervision
from engines.training.rehearsal import Trial, largest_batch, rehearsed, trials
from tests.engines.training.small import FROZEN, small_config

GB = 10**9


def test_a_rehearsal_tells_data_network_and_time(tmp_path: Path) -> None:
    """The estimate is the steps' and the evaluations' time together."""
    validation = f"validation={{path: {tmp_path / 'data'}, prefix: toy_, name: seen}}"
    rehearsal = rehearsed(small_config(tmp_path, validation, "schedule.evaluate_every=50", steps=100))

    told = "\n".join(rehearsal.lines)
    assert "6 pictures, 100% of the crops" in told
    assert "validation seen: 6 pictures" in told
    assert "100 steps of 4 crops, adamw, poly" in told
    assert "66.7 looks at each picture" in told
    assert rehearsal.total_s == pytest.approx(100 * rehearsal.s_per_step + 2 * rehearsal.s_per_evaluation)
    assert rehearsal.peak_bytes > 10**8


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    """The command prints the rehearsal; the folder of checkpoints is not even made."""
    small_config(tmp_path)
    words = ["train", str(tmp_path / "small.yaml"), "--out", str(tmp_path / "out"), "--dry-run"]

    result = CliRunner().invoke(cli, [*words, "--set", "model.width=0.25"], catch_exceptions=False)

    assert "nothing was written" in result.output
    assert not (tmp_path / "out").exists()


def test_the_largest_batch_lies_on_the_line_through_the_last_trials() -> None:
    """1 GB to start with and 0.1 GB a crop: 3.05 GB hold 20 crops."""
    tried = [Trial(n, 10.0, int(GB + n * 0.1 * GB)) for n in (2, 4, 8, 16)]

    assert largest_batch(tried, int(3.05 * GB)) == 20
    with pytest.raises(TrainingError, match="not even one crop fits"):
        largest_batch([], GB)


def test_trials_double_until_the_budget_is_spent(tmp_path: Path) -> None:
    """Sizes 1, 2, 4 with frozen statistics; from 2 on without, since one crop has no variance; none without memory."""
    frozen = [trial.n for trial in trials(small_config(tmp_path, *FROZEN), most=4)]
    learnt = [trial.n for trial in trials(small_config(tmp_path), most=4)]
    none = list(trials(small_config(tmp_path), most=4, budget_bytes=1000))

    assert (frozen, learnt, none) == ([1, 2, 4], [2, 4], [])


def test_trials_carry_the_frames_of_the_temporal_term(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are in memory with every part, whatever its size; without them the batch that fits was too large."""
    small_config(tmp_path)
    frames = tmp_path / "data" / "images"
    config = small_config(
        tmp_path, f"temporal={{weight: 1, batch: 3, sources: [{{path: {frames}, format: frames}}]}}", *FROZEN
    )
    n_frames: list[int] = []
    real = supervision.inconsistency

    def counted(first: Tensor, *others: Any) -> Tensor:
        n_frames.append(len(first))
        return real(first, *others)

    monkeypatch.setattr(supervision, "inconsistency", counted)

    assert [trial.n for trial in trials(config, most=2)] == [1, 2]
    assert set(n_frames) == {3}


def test_tune_batch_says_what_to_set(tmp_path: Path) -> None:
    """A batch of 4 with room for 2 is computed in two parts."""
    small_config(tmp_path)
    words = ["tune-batch", str(tmp_path / "small.yaml"), "--most", "2", "--set", "model.width=0.25"]

    result = CliRunner().invoke(cli, words, catch_exceptions=False)

    assert "2 crops fit at once" in result.output
    assert "schedule.batch=4 needs schedule.accumulate=2" in result.output


def test_parts_of_unequal_size_are_refused(tmp_path: Path) -> None:
    """Four crops in three parts: told with the config's file."""
    with pytest.raises(ConfigError, match="batch 4 cannot be split into 3 equal parts"):
        small_config(tmp_path, "schedule.accumulate=3")


def test_a_part_of_one_crop_needs_frozen_statistics(tmp_path: Path) -> None:
    """One crop has no variance where a layer sees a single pixel of it: refused before the first step."""
    config = small_config(tmp_path, "schedule.accumulate=4")

    with pytest.raises(TrainingError, match=r"equal parts of 2 or more.*freeze batch_norm"):
        rehearsed(config)


def test_a_training_of_one_step_can_be_rehearsed(tmp_path: Path) -> None:
    """The rehearsal takes three steps, however many the training has."""
    assert rehearsed(small_config(tmp_path, steps=1)).total_s > 0
