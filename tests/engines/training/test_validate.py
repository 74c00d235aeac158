"""A validation set is scored as it says."""

import numpy as np
import pytest
import torch

from engines.training.config import Validation
from engines.training.validate import opened_sets, segmenter_of
from tests.engines.training.seen.facts import Threshold, config


class Sized(Threshold):
    """Remembers the size of what it sees."""

    seen: tuple[int, ...] = ()

    def forward(self, image_rgb: torch.Tensor) -> torch.Tensor:
        """As its base."""
        self.seen = tuple(image_rgb.shape[2:])
        return super().forward(image_rgb)


def test_a_size_is_width_by_height() -> None:
    """`160x96` in a config once scored at 96 wide and 160 high: training chose its best checkpoint by tiny pictures."""
    options, network = config(validation={"format": "shapes", "size": "160x96"}), Sized()

    segmenter_of(network, options, options.validation[0]).logits(np.zeros((144, 256, 3), np.uint8))

    assert network.seen == (96, 160)


@pytest.mark.parametrize("size", ["500x288", "512", "0x32", "512x288x3", "wide"])
def test_a_size_that_no_network_takes_is_refused_before_the_training(size: str) -> None:
    """It was once found at the first evaluation, hundreds of steps later."""
    with pytest.raises(ValueError, match="multiples of 32"):
        Validation(format="shapes", size=size)


def test_a_validation_set_is_read_by_index_as_far_as_its_limit() -> None:
    """So several threads can read it; `limit` leaves out the rest."""
    options = config(classes=("background", "circle"), subject=None, validation={"format": "shapes", "limit": 2})

    (one,) = opened_sets(options).values()

    assert len(one) == 2
    assert one[1].name == one.names[1]
