"""Batches: drawn by share, the same for the same step, and no thread left behind."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from engines.data.datasets import Distrust, Folder, Pair, Source
from engines.data.loader import Group, TrainingSet, batches
from engines.data.transforms import Augment
from engines.data.views import Budget, Kept
from engines.errors import DataError
from tests.engines.toy import picture, write_folder

AUGMENT = Augment(crop_px=32)


def _set(n: int = 3) -> TrainingSet:
    return TrainingSet([Group(1.0, [Pair(str(index), *picture(index)) for index in range(n)])])


def test_a_batch_depends_only_on_seed_and_step() -> None:
    """Starting in the middle gives the batches that would have come there."""
    whole = list(batches(_set(), 2, AUGMENT, seed=4, first_step=0, n_steps=4))
    rest = list(batches(_set(), 2, AUGMENT, seed=4, first_step=2, n_steps=4))

    for first, again in zip(whole[2:], rest, strict=True):
        assert torch.equal(first.images_bgr, again.images_bgr)
        assert torch.equal(first.labels, again.labels)
    assert not torch.equal(whole[0].images_bgr, whole[1].images_bgr)


def test_sources_are_drawn_by_share() -> None:
    """Nine to one is nine to one, however many pictures each holds."""
    dark = Pair("dark", np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32), np.uint8))
    lit = [Pair("lit", np.full((32, 32, 3), 255, np.uint8), np.ones((32, 32), np.uint8))] * 5
    plain = Augment(crop_px=32, scale_min=1.5, scale_max=2.0, bars_share=0.0, rotate_deg=0.0)

    labels = TrainingSet([Group(9.0, [dark]), Group(1.0, lit)]).crops(200, plain, seed=0, step=0).labels

    n_lit = int((labels == 1).any(dim=2).any(dim=1).sum())
    assert 8 <= n_lit <= 36  # 20 expected, standard deviation 4.2


def test_closing_early_ends_the_thread() -> None:
    """A training that stops leaves no thread that still makes crops."""
    crops = batches(_set(), 2, AUGMENT, seed=0, first_step=0, n_steps=1000)
    next(crops)

    crops.close()

    assert not [thread for thread in threading.enumerate() if thread.name.startswith("crops")]


def test_an_error_in_the_thread_reaches_the_trainer() -> None:
    """It is raised where the batch is asked for, not lost in a thread."""
    broken = TrainingSet([Group(1.0, [Pair("broken", np.zeros((0, 0, 3), np.uint8), np.zeros((0, 0), np.uint8))])])

    with pytest.raises(Exception, match=r"."):
        list(batches(broken, 1, AUGMENT, seed=0, first_step=0, n_steps=1))


def test_distrust_without_a_teacher_is_refused(tmp_path: Path) -> None:
    """Nobody could say which labels are doubtful."""
    source = Source(path=write_folder(tmp_path, 1), distrust=Distrust.BACKGROUND)

    with pytest.raises(DataError, match="needs `teacher`"):
        TrainingSet.read([source], classes=2)


def test_an_empty_training_set_is_refused() -> None:
    """There is nothing to draw from."""
    with pytest.raises(DataError, match="no pictures"):
        TrainingSet([])


def test_more_threads_make_the_same_batches_in_the_same_order() -> None:
    """Who makes a batch changes nothing of it, encoders and tables of noise included."""
    config = Augment(crop_px=32, h264_share=0.5, noise_share=0.5, low_light_share=0.5, paste_share=0.5)

    alone, together = (list(batches(_set(), 3, config, seed=1, first_step=0, n_steps=7, n_threads=n)) for n in (1, 3))

    assert len(alone) == len(together) == 7
    assert all(torch.equal(a.images_bgr, b.images_bgr) for a, b in zip(alone, together, strict=True))


def test_processes_share_a_batch_by_its_places() -> None:
    """Two halves are the whole that one process would have made."""
    whole = _set().crops(4, AUGMENT, seed=1, step=2)
    halves = [_set().crops(4, AUGMENT, seed=1, step=2, places=places) for places in (range(2), range(2, 4))]

    assert torch.equal(whole.images_bgr, torch.cat([half.images_bgr for half in halves]))


def test_crops_say_which_source_is_distilled() -> None:
    """The trainer asks the teacher for these only."""
    dark = Pair("dark", np.zeros((32, 32, 3), np.uint8), np.full((32, 32), 255, np.uint8))
    lit = Pair("lit", np.full((32, 32, 3), 255, np.uint8), np.ones((32, 32), np.uint8))
    plain = Augment(crop_px=32, scale_min=1.5, scale_max=2.0, bars_share=0.0, rotate_deg=0.0)

    batch = TrainingSet([Group(1.0, [dark], is_distilled=True), Group(1.0, [lit])]).crops(20, plain, seed=0, step=0)

    is_dark = (batch.labels == 255).flatten(1).all(dim=1)
    assert torch.equal(batch.is_distilled, is_dark)
    assert 0 < int(is_dark.sum()) < 20


def test_pictures_stay_in_memory_as_long_as_the_budget_lasts(tmp_path: Path) -> None:
    """Kept ones are read once, the others again and again; both are the same pictures."""
    folder = Folder(write_folder(tmp_path, 3), 2)
    size = 64 * 64 * 4
    kept = Kept(folder, Budget(2 * size))

    first = [kept[index] for index in range(3)]
    again = [kept[index] for index in range(3)]

    assert [a is b for a, b in zip(first, again, strict=True)] == [True, True, False]
    np.testing.assert_array_equal(first[2].image_bgr, again[2].image_bgr)


def test_a_file_that_goes_missing_is_named_where_the_batch_is_asked_for(tmp_path: Path) -> None:
    """Pictures are read while training; the error comes out of the loop, not out of a thread."""
    training_set = TrainingSet.read([Source(path=write_folder(tmp_path, 1))], classes=2)
    (tmp_path / "masks" / "toy_00.png").unlink()

    with pytest.raises(DataError, match=r"toy_00\.png"):
        list(batches(training_set, 1, AUGMENT, seed=0, first_step=0, n_steps=3, n_threads=2))
