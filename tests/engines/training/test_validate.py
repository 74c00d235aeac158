"""A validation set is scored as it says."""

import numpy as np
import torch

from engines.training.validate import segmenter_of
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
