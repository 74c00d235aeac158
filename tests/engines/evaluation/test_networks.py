"""Networks under P1 and P2: sizes in, sizes out."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engines.evaluation.networks import P1Network, P2Network
from engines.models.deeplab import DeepLab, ModelConfig
from engines.spec import InputSpec

CLASSES = ("dark", "bright")


class SeesBright(DeepLab):
    """Logits at stride 4: how bright a cell is; remembers the sizes it was shown."""

    def __init__(self) -> None:
        super().__init__(len(CLASSES), ModelConfig())
        self.seen: list[tuple[int, ...]] = []

    def forward(self, image_rgb: Tensor) -> Tensor:
        self.seen.append(tuple(image_rgb.shape))
        bright = nn.functional.avg_pool2d(image_rgb.mean(dim=1, keepdim=True), 4)
        return torch.cat([-bright, bright], dim=1)


@pytest.mark.parametrize(("height", "width", "shown"), [(512, 300, (512, 320)), (100, 200, (256, 512))])
def test_p1_brings_the_longer_side_to_512_and_pads_to_32(height: int, width: int, shown: tuple[int, int]) -> None:
    """What comes back has the image's own size and lies where it lay."""
    network = SeesBright()
    image = np.zeros((height, width, 3), np.uint8)
    image[:, width // 2 :] = 255

    label_map = P1Network(network, CLASSES).logits(image).argmax(axis=2)

    assert network.seen == [(1, 3, *shown)]
    assert label_map.shape == (height, width)
    assert not label_map[:, : width // 2 - 3].any()
    assert label_map[:, width // 2 + 3 :].all()


def test_p2_obeys_the_resize_rule_of_the_engine() -> None:
    """A portrait is letterboxed into the served size and comes back at its own."""
    network = SeesBright()
    image = np.zeros((200, 100, 3), np.uint8)
    image[100:] = 255

    label_map = P2Network(network, CLASSES, InputSpec(96, 160)).logits(image).argmax(axis=2)

    assert network.seen == [(1, 3, 96, 160)]
    assert label_map.shape == (200, 100)
    assert not label_map[:92].any()
    assert label_map[108:].all()
