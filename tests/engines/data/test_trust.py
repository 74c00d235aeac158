"""Labels that a teacher contradicts are ignored, on the distrusted side and away from contours only."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from engines.data import IGNORE
from engines.data.datasets import Distrust, Folder, Pair
from engines.data.trust import Believed, Witness, believed
from engines.data.views import Budget, Kept
from tests.engines.toy import write_folder


class SeesBright(nn.Module):
    """A teacher that takes every bright pixel for its class 1."""

    def normalise(self, images_bgr: Tensor) -> Tensor:
        return images_bgr.permute(0, 3, 1, 2).float() / 127.5 - 1

    def forward(self, image_rgb: Tensor) -> Tensor:
        bright = nn.functional.avg_pool2d(image_rgb.mean(dim=1, keepdim=True), 4) * 20
        return torch.cat([-bright, bright], dim=1)


def _crowd() -> Pair:
    """A labelled subject on the left, an unlabelled one on the right."""
    image = np.zeros((96, 192, 3), np.uint8)
    labels = np.zeros((96, 192), np.uint8)
    image[30:60, 20:40] = 255
    labels[30:60, 20:40] = 1
    image[30:60, 140:160] = 255
    return Pair("crowd", image, labels)


def _believed(pair: Pair, distrust: Distrust, cache: Path) -> Pair:
    return believed(pair, distrust, Witness(SeesBright(), 1, cache=cache).seen(pair.image_bgr))


def test_an_unlabelled_subject_is_ignored_and_the_labelled_one_kept(tmp_path: Path) -> None:
    """The spectator and a rim around it are 255; subject and plain background are as they were."""
    result = _believed(_crowd(), Distrust.BACKGROUND, tmp_path).label_map

    assert (result[30:60, 140:160] == IGNORE).all()
    assert result[45, 165] == IGNORE
    assert (result[30:60, 20:40] == 1).all()
    assert (result[:, 80:110] == 0).all()
    assert result[45, 45] == 0  # beside the hand-drawn contour the labels hold


def test_a_label_that_the_teacher_does_not_see_is_ignored(tmp_path: Path) -> None:
    """A board that is labelled as the subject is not learned."""
    pair = _crowd()
    pair.label_map[80:90, 100:180] = 1

    result = _believed(pair, Distrust.SUBJECT, tmp_path).label_map

    assert (result[85, 100:180] == IGNORE).all()
    assert (result[30:60, 20:40] == 1).all()
    assert (result[30:60, 140:160] == 0).all()


def test_labels_that_are_trusted_are_returned_as_they_are() -> None:
    """Nothing is contradicted."""
    pair = _crowd()

    assert believed(pair, Distrust.NOTHING, np.ones((96, 192), bool)) is pair


def test_a_teacher_looks_once_at_a_picture(tmp_path: Path) -> None:
    """A second start reads what was seen; another picture, or another network, is looked at."""
    first, second = (Witness(SeesBright(), 1, cache=tmp_path) for _ in range(2))
    image = _crowd().image_bgr

    seen = first.seen(image)

    np.testing.assert_array_equal(second.seen(image), seen)
    assert (first.n_looked, second.n_looked) == (1, 0)
    second.seen(image[::-1].copy())
    assert second.n_looked == 1
    taught = SeesBright()
    taught.register_buffer("weight", torch.ones(1))
    other = Witness(taught, 1, cache=tmp_path)
    other.seen(image)
    assert other.n_looked == 1


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    """A full or read-only home costs time, not the training."""
    (tmp_path / "file").write_text("no folder")

    witness = Witness(SeesBright(), 1, cache=tmp_path / "file")

    assert witness.seen(_crowd().image_bgr)[45, 150]


def test_a_data_set_is_believed_picture_by_picture(tmp_path: Path) -> None:
    """Wrapped, a data set gives the same as the rule alone."""
    pairs = Kept(Folder(write_folder(tmp_path / "data", 3), 2), Budget(0))
    witness = Witness(SeesBright(), 1, cache=tmp_path / "cache")

    wrapped = Believed(pairs, Distrust.SUBJECT, witness)

    expected = believed(pairs[1], Distrust.SUBJECT, witness.seen(pairs[1].image_bgr))
    np.testing.assert_array_equal(wrapped[1].label_map, expected.label_map)
    assert (wrapped[1].label_map == IGNORE).any()  # red squares are not bright
    assert len(list(wrapped)) == 3
