"""Where the samples of a coarse map lie in the picture."""

import pytest
import torch
from torch import Tensor, nn

from engines.models.layers import quarter_logits, resized_to


def _strided(plane: Tensor, stride: int) -> Tensor:
    """What stride-2 convolutions with padding 1 see that only look at their middle."""
    look = nn.Conv2d(1, 1, 3, stride=2, padding=1, bias=False)
    nn.init.zeros_(look.weight)
    with torch.no_grad():
        look.weight[0, 0, 1, 1] = 1
        while stride > 1:
            plane, stride = look(plane), stride // 2
    return plane


def _ramp(height: int, width: int) -> Tensor:
    """Each pixel holds its own place, across plus a hundredth of down."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (x + y / 100)[None, None].float()


@pytest.mark.parametrize("side", [64, 96, 65, 97, 100])
@pytest.mark.parametrize("stride", [8, 16, 32])
def test_a_coarse_map_is_put_where_it_was_taken(side: int, stride: int) -> None:
    """A ramp that a backbone has sampled comes out as that ramp: moved by nothing, at odd sizes and even ones."""
    ramp = _ramp(side, side + 32)
    low, high = _strided(ramp, 4), _strided(ramp, stride)

    fine = resized_to(high, low)

    inside = (
        slice(None),
        slice(None),
        slice(0, (high.shape[2] - 1) * stride // 4),
        slice(0, side // stride * stride // 4),
    )
    assert fine.shape == low.shape
    torch.testing.assert_close(fine[inside], low[inside])


@pytest.mark.parametrize("stride", [4, 8, 16])
def test_logits_lie_in_the_middle_of_four_pixels(stride: int) -> None:
    """What follows enlarges by four with half-pixel centres: the first value belongs to pixel 1.5."""
    ramp = _ramp(64, 96)

    logits = quarter_logits(_strided(ramp, stride), _strided(ramp, 4))

    places = torch.arange(16) * 4 + 1.5
    n = 64 // stride * stride // 4 - stride // 4
    torch.testing.assert_close(logits[0, 0, 0, :n], places[:n] + 0.015)
