"""`engines train` as it is typed: who speaks at the end."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from engines.__main__ import cli
from tests.engines.toy import train_yaml, write_folder

pytestmark = pytest.mark.torch

SMALL = ("--set", "model.width=0.25", "--set", "validation=null", "--set", "threads=1")


def test_a_variable_that_is_called_rank_does_not_make_a_lone_training_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Schedulers of clusters set RANK for their own purposes; whoever trains alone is told how it ended."""
    monkeypatch.setenv("RANK", "3")
    config = train_yaml(tmp_path / "toy.yaml", write_folder(tmp_path / "data", 6), steps=2)

    result = CliRunner().invoke(
        cli, ["train", str(config), "--out", str(tmp_path / "out"), *SMALL], catch_exceptions=False
    )

    assert "train: finished after 2 steps" in result.output
