"""A toy training: it learns, it resumes exactly, it stops when told to."""

import os
import signal
from pathlib import Path

import pytest
import torch

from configs import ConfigError, load
from engines.errors import CheckpointError
from engines.training.checkpoint import Checkpoint
from engines.training.config import TrainConfig
from engines.training.train import run
from engines.training.watch import Lines
from tests.engines.toy import train_yaml, write_folder


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    """Twenty steps on six pictures."""
    return load(TrainConfig, train_yaml(tmp_path / "toy.yaml", write_folder(tmp_path / "data", 6)))


def _with_steps(config: TrainConfig, steps: int, **more: int) -> TrainConfig:
    schedule = config.schedule.model_copy(update={"steps": steps, **more})
    return config.model_copy(update={"schedule": schedule})


def test_twenty_steps_reduce_the_loss_and_leave_two_checkpoints(config: TrainConfig, tmp_path: Path) -> None:
    """The loss falls by more than a quarter, both files are there, and the score is in the best one."""
    said: list[str] = []

    outcome = run(config, tmp_path / "out", watchers=[Lines(said.append)])

    assert outcome.is_finished
    # Measured 0.25 to 0.66 of the first with three seeds; the rest is room for other CPUs' arithmetic.
    assert sum(outcome.losses[-3:]) < 0.75 * sum(outcome.losses[:3])
    best = Checkpoint.load(tmp_path / "out" / "best.pt")
    assert best.scores["P1/toy/miou"] == pytest.approx(outcome.best_miou, abs=1e-4)
    assert not best.training
    assert Checkpoint.load(tmp_path / "out" / "last.pt").step == 20
    assert any("images/s" in line and "to go" in line for line in said)


def test_a_resumed_training_ends_with_the_same_weights(config: TrainConfig, tmp_path: Path) -> None:
    """Six steps at once, or four, a stop and two more: bit for bit the same."""
    config = _with_steps(config, 6, save_every=4).model_copy(update={"threads": 1})
    run(config, tmp_path / "whole")
    stopped = tmp_path / "stopped"

    # The poly schedule knows the whole length, so the first part must be stopped, not shortened.
    _run_and_stop_at(config, stopped, step=4)
    outcome = run(config, stopped, resume=True)

    assert outcome.step == 6
    whole, resumed = (Checkpoint.load(folder / "last.pt") for folder in (tmp_path / "whole", stopped))
    assert resumed.step == whole.step == 6
    for name, value in whole.weights.items():
        assert torch.equal(value, resumed.weights[name]), name


def _run_and_stop_at(config: TrainConfig, out: Path, step: int) -> None:
    """Send ourselves SIGTERM when the progress reaches a step."""

    def stop(line: str) -> None:
        if f"step {step}/" in line:
            os.kill(os.getpid(), signal.SIGTERM)

    outcome = run(config, out, watchers=[Lines(stop, every=1)])

    assert not outcome.is_finished
    assert outcome.step == step


def test_sigterm_saves_and_puts_the_handler_back(config: TrainConfig, tmp_path: Path) -> None:
    """The step that runs is finished, `last.pt` holds it, and a later SIGTERM means what it meant before."""
    before = signal.getsignal(signal.SIGTERM)

    _run_and_stop_at(config, tmp_path / "out", step=2)

    assert Checkpoint.load(tmp_path / "out" / "last.pt").step == 2
    assert signal.getsignal(signal.SIGTERM) is before


def test_resuming_without_a_checkpoint_is_an_error(config: TrainConfig, tmp_path: Path) -> None:
    """Starting afresh in silence would hide a wrong folder."""
    with pytest.raises(CheckpointError, match=r"last\.pt: no such checkpoint"):
        run(config, tmp_path / "nothing", resume=True)


def test_a_config_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    """A subject that is no class is told with the file."""
    path = train_yaml(tmp_path / "toy.yaml", tmp_path)

    with pytest.raises(ConfigError, match="subject 'cat' is not one of the classes"):
        load(TrainConfig, path, ["subject=cat"])


def test_the_ready_training_is_valid_and_keeps_to_what_may_ship() -> None:
    """`configs/train/person.yaml` loads; of the stills it takes the licensed part only."""
    config = load(TrainConfig, Path(__file__).parents[3] / "configs" / "train" / "person.yaml")

    assert config.subject == "person"
    assert all(source.prefix == "ccp_" for source in config.sources if source.path.parts[-2:] == ("person", "train"))
    named = " ".join(str(source.path) for source in config.sources)
    for forbidden in ("hsd", "camvid", "parkour", "bottle"):
        assert forbidden not in named
