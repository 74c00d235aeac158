"""Checkpoints are whole, say what they hold, and cannot run code."""

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engines.errors import CheckpointError
from engines.models.deeplab import ModelConfig, build
from engines.spec import InputSpec, Meaning, ResizeRule
from engines.training.checkpoint import Checkpoint

SMALL = ModelConfig(aspp_channels=8, low_channels=4)


def _checkpoint() -> Checkpoint:
    model = build(SMALL, 2)
    meaning = Meaning(("background", "person"), ((0, 0, 0), (1, 2, 3)), "person")
    return Checkpoint("small", SMALL, meaning, model.state_dict(), step=7, scores={"P1/x/miou": 0.5})


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    """Weights, meaning, scores and step survive the file."""
    stored = _checkpoint()

    stored.save(tmp_path / "a.pt")
    read = Checkpoint.load(tmp_path / "a.pt")

    assert (read.name, read.model, read.meaning, read.step) == ("small", SMALL, stored.meaning, 7)
    assert read.scores == {"P1/x/miou": 0.5}
    for name, value in read.network().state_dict().items():
        assert torch.equal(value, stored.weights[name])


@pytest.mark.parametrize("resize", list(ResizeRule))
def test_a_checkpoint_knows_the_input_it_was_trained_for(tmp_path: Path, resize: ResizeRule) -> None:
    """Size and rule come back whole; a file without them, as older ones are, is read all the same."""
    stored = _checkpoint()
    stored.meaning = replace(stored.meaning, resize=resize)
    stored.save(tmp_path / "older.pt")
    stored.input = InputSpec(288, 512, resize)
    stored.save(tmp_path / "a.pt")

    assert Checkpoint.load(tmp_path / "a.pt").input == stored.input
    assert Checkpoint.load(tmp_path / "older.pt").input is None


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full in the middle of saving costs the new checkpoint, not the old one."""
    path = tmp_path / "a.pt"
    _checkpoint().save(path)
    before = path.read_bytes()

    def full_disk(stored: object, file: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(CheckpointError, match=r"no space left on the disk.*untouched"):
        _checkpoint().save(path)

    assert path.read_bytes() == before


class RunsCode:
    """What an evil pickle does when it is read."""

    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("ran",))


def test_a_file_that_would_run_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only weights and plain values are read."""
    torch.save({"format": 1, "weights": RunsCode()}, tmp_path / "evil.pt")

    with pytest.raises(CheckpointError, match=r"evil\.pt: cannot be read"):
        Checkpoint.load(tmp_path / "evil.pt")

    assert "ran" not in capsys.readouterr().out


def test_files_that_are_no_checkpoints_are_named(tmp_path: Path) -> None:
    """Missing, damaged, foreign, incomplete: each says which file and what was expected."""
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps([1]))
    torch.save({"weights": {}}, tmp_path / "foreign.pt")
    torch.save({"format": 1, "name": "x"}, tmp_path / "incomplete.pt")

    for name in ("missing.pt", "text.pt", "empty.pt", "pickle.pt", "foreign.pt", "incomplete.pt"):
        with pytest.raises(CheckpointError, match=name):
            Checkpoint.load(tmp_path / name)


def test_weights_of_another_model_are_refused() -> None:
    """The model it names decides; the first tensor that does not fit is told."""
    checkpoint = _checkpoint()
    checkpoint.model = ModelConfig(aspp_channels=16, low_channels=4)

    with pytest.raises(CheckpointError, match="do not fit"):
        checkpoint.network()
