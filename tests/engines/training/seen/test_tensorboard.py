"""What TensorBoard would show, read back with its own reader."""

import io
import re

import numpy as np
import pytest
import torch  # noqa: F401  # the facts hold tensors

from engines.training.seen.tensorboard import FOLDER, TensorBoard
from tests.engines.training.seen.facts import Both, FullDisk, play

PIL = pytest.importorskip("PIL.Image", reason="needs Pillow, which comes with matplotlib (extra train)")


def _read(out):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(out / FOLDER))
    events.Reload()
    return events


def test_scalars_of_a_whole_training(tmp_path) -> None:
    """Terms, rates, speed every ten steps; mIoU and the IoU of each class at each evaluation."""
    with TensorBoard() as watcher:
        play(watcher, tmp_path)

    events = _read(tmp_path)
    assert {
        "loss/total", "loss/dice", "learning rate/head", "speed/images per s", "mIoU/all", "IoU squares/square",
    } <= set(events.Tags()["scalars"])  # fmt: skip
    losses = events.Scalars("loss/total")
    assert [event.step for event in losses] == [10, 20, 30, 40]
    assert losses[1].value == pytest.approx(np.mean([1 / step for step in range(11, 21)]), rel=1e-5)
    assert [event.value for event in events.Scalars("IoU squares/square")][-1] > 0.9


def test_a_resumed_training_hides_what_it_repeats(tmp_path) -> None:
    """Killed after step 40, resumed from a checkpoint of step 20: every step is shown once."""
    with TensorBoard() as watcher:
        play(watcher, tmp_path)
    with TensorBoard() as watcher:
        play(watcher, tmp_path, first_step=20)

    assert [event.step for event in _read(tmp_path).Scalars("loss/total")] == [10, 20, 30, 40]


def test_a_full_disk_costs_curves_and_is_told_in_one_line(tmp_path) -> None:
    """A writing thread used to die with a traceback, and the training with it; now curves come again in a new file."""
    said: list[str] = []

    with FullDisk(5, 20) as disk, TensorBoard(said.append) as watcher:
        play(Both(disk, watcher), tmp_path)

    assert len(said) == 1
    assert re.search(r"tensorboard: cannot be written \(.+\); training goes on without curves", said[0])
    assert [event.step for event in _read(tmp_path).Scalars("loss/total")] == [30, 40]


def test_pictures_show_what_the_network_makes_of_them(tmp_path) -> None:
    """Rows of image, label, prediction: where it is right, the last two columns are the same."""
    with TensorBoard() as watcher:
        play(watcher, tmp_path)

    events = _read(tmp_path)
    tag = next(tag for tag in events.Tags()["images"] if "prediction" in tag)
    blind, right = (np.asarray(PIL.open(io.BytesIO(event.encoded_image_string)), int) for event in events.Images(tag))
    pitch = 196
    assert right.shape == (4 * pitch + 4, 3 * pitch + 4, 3)
    differences = [
        np.abs(sheet[:, pitch : 2 * pitch] - sheet[:, 2 * pitch : 3 * pitch]).mean() for sheet in (blind, right)
    ]
    assert differences[1] < 0.2 * differences[0]
