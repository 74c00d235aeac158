"""What goes wrong in a step is told in one line, and no good checkpoint is lost."""

import errno
from pathlib import Path

import pytest
import torch
from torch import nn

from engines.errors import CheckpointError, DataError, TrainingError
from engines.training.checkpoint import Checkpoint
from engines.training.steps import prepared_steps
from engines.training.train import run
from engines.training.watch import StepFacts, Watcher
from tests.engines.training.small import small_config


class Spoiler(Watcher):
    """After a step, does something to the network or the machine."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.heard: list[str] = []

    def stepped(self, facts: StepFacts) -> None:
        if facts.step == self.at:
            self.spoil()

    def spoil(self) -> None:
        """What this one breaks."""

    def warned(self, message: str) -> None:
        self.heard.append(message)


def test_a_loss_that_is_not_a_number_names_step_and_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From step 4 on one layer gives NaN: the training stops there, and `last.pt` is that of step 3."""
    real = nn.ReLU.forward
    broken: list[bool] = []
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: real(self, x) * float("nan") if broken else real(self, x))

    class Breaks(Spoiler):
        def spoil(self) -> None:
            broken.append(True)

    with pytest.raises(
        TrainingError, match=r"step 4: .*is nan; the first layer with such an output is aspp\..*last\.pt"
    ):
        run(small_config(tmp_path, "schedule.save_every=3"), tmp_path / "out", watchers=[Breaks(3)])

    assert Checkpoint.load(tmp_path / "out" / "last.pt").step == 3


def test_weights_that_are_not_numbers_are_never_saved(tmp_path: Path) -> None:
    """A gradient that overflows shows only in the next loss; a save in between would spoil the last good file."""
    config = small_config(tmp_path)
    with prepared_steps(config) as steps:
        next(iter(steps.state.model.parameters())).data.fill_(float("nan"))

        with pytest.raises(TrainingError, match=r"backbone\.features\.0.* not finite; nothing was saved"):
            steps.state.whole(config)


def test_a_full_disk_costs_no_step_and_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The save of step 4 fails and is told; training goes on, and the one of step 6 succeeds."""
    real = torch.save
    is_full: list[bool] = []

    def save(stored: object, file: object) -> None:
        if is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(stored, file)  # type: ignore[arg-type]

    class Fills(Spoiler):
        def spoil(self) -> None:
            is_full.append(True)

        def warned(self, message: str) -> None:
            super().warned(message)
            assert Checkpoint.load(tmp_path / "out" / "last.pt").step == 2
            is_full.clear()

    monkeypatch.setattr(torch, "save", save)
    fills = Fills(3)
    outcome = run(small_config(tmp_path, "schedule.save_every=2"), tmp_path / "out", watchers=[fills])

    assert outcome.step == 6
    assert len(fills.heard) == 1
    assert "no space left on the disk" in fills.heard[0]
    assert Checkpoint.load(tmp_path / "out" / "last.pt").step == 6


def test_a_disk_that_stays_full_ends_with_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last save must succeed; when it cannot, that is the error, and the older file is whole."""
    run(small_config(tmp_path, steps=2), tmp_path / "out")

    def save(stored: object, file: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(CheckpointError, match=r"last\.pt: cannot be written \(no space left.*older file is untouched"):
        run(small_config(tmp_path, steps=4), tmp_path / "out", resume=True)

    monkeypatch.undo()
    assert Checkpoint.load(tmp_path / "out" / "last.pt").step == 2


def test_too_little_memory_says_what_would_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's allocator gives up above two crops: the error names batch, remedy and checkpoint."""
    real = nn.ReLU.forward
    is_full: list[bool] = []

    def forward(self: nn.ReLU, x: torch.Tensor) -> torch.Tensor:
        if is_full and len(x) > 2:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return real(self, x)

    class Starves(Spoiler):
        def spoil(self) -> None:
            is_full.append(True)

    monkeypatch.setattr(nn.ReLU, "forward", forward)
    with pytest.raises(
        TrainingError, match=r"step 3: out of memory on cpu with 4 crops of 64 px at once; 2 fit: .*accumulate=2"
    ):
        run(small_config(tmp_path, "schedule.save_every=2"), tmp_path / "out", watchers=[Starves(2)])

    assert Checkpoint.load(tmp_path / "out" / "last.pt").step == 2


def test_an_error_that_is_none_of_these_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A programming mistake is not dressed up as a lack of memory."""
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: x.reshape(7))

    with pytest.raises(RuntimeError, match="shape"):
        run(small_config(tmp_path), tmp_path / "out")


def test_a_best_that_could_not_be_written_is_written_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full at the best evaluation: a later one that is worse than it still replaces the older file."""
    mious = iter([0.2, 0.9, 0.5])
    monkeypatch.setattr("engines.training.train.weighted_miou", lambda *_: next(mious))
    real = Checkpoint.save

    def save(checkpoint: Checkpoint, path: Path) -> None:
        if path.name == "best.pt" and checkpoint.step == 4:
            raise CheckpointError("no space left on the disk")
        real(checkpoint, path)

    monkeypatch.setattr(Checkpoint, "save", save)
    outcome = run(small_config(tmp_path, "schedule.evaluate_every=2"), tmp_path / "out")

    assert Checkpoint.load(tmp_path / "out" / "best.pt").step == 6
    assert outcome.best_miou == 0.5


def test_a_picture_that_cannot_be_read_costs_no_step(tmp_path: Path) -> None:
    """The training ends with the file's name, and `last.pt` holds every step that was taken."""
    config = small_config(tmp_path, "cache_mb=0", "schedule.save_every=50", steps=50)

    class Breaks(Watcher):
        def stepped(self, facts: StepFacts) -> None:
            for path in (tmp_path / "data" / "images").iterdir():
                path.write_bytes(b"no picture any more")
            self.step = facts.step

    breaks = Breaks()
    with pytest.raises(DataError, match="not an image"):
        run(config, tmp_path / "out", watchers=[breaks])

    assert Checkpoint.load(tmp_path / "out" / "last.pt").step == breaks.step
