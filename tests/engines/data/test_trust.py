"""Labels that a teacher contradicts are ignored, on the distrusted side and away from contours only."""

import numpy as np
import torch
from torch import Tensor, nn

from engines.data import IGNORE
from engines.data.datasets import Distrust, Pair
from engines.data.trust import believed


class SeesBright(nn.Module):
    """A teacher that takes every bright pixel for its class 1."""

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


def test_an_unlabelled_subject_is_ignored_and_the_labelled_one_kept() -> None:
    """The spectator and a rim around it are 255; subject and plain background are as they were."""
    result = believed(_crowd(), Distrust.BACKGROUND, SeesBright(), teacher_class=1).label_map

    assert (result[30:60, 140:160] == IGNORE).all()
    assert result[45, 165] == IGNORE
    assert (result[30:60, 20:40] == 1).all()
    assert (result[:, 80:110] == 0).all()
    assert result[45, 45] == 0  # beside the hand-drawn contour the labels hold


def test_a_label_that_the_teacher_does_not_see_is_ignored() -> None:
    """A board that is labelled as the subject is not learned."""
    pair = _crowd()
    pair.label_map[80:90, 100:180] = 1

    result = believed(pair, Distrust.SUBJECT, SeesBright(), teacher_class=1).label_map

    assert (result[85, 100:180] == IGNORE).all()
    assert (result[30:60, 20:40] == 1).all()
    assert (result[30:60, 140:160] == 0).all()


def test_labels_that_are_trusted_are_returned_as_they_are() -> None:
    """No teacher is asked."""
    pair = _crowd()

    assert believed(pair, Distrust.NOTHING, nn.Identity(), teacher_class=1) is pair
