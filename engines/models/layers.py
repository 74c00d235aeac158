"""The convolutions that heads are made of, and how maps are brought to one size.

The trap: `separable` changes parameter names too, so it belongs to the model's config.
"""

import torch.nn.functional as F
from torch import Tensor, nn

MIDDLE = 1.5 / 4

__all__ = [
    "DenseConv",
    "PointwiseConv",
    "SeparableConv",
    "atrous_conv",
    "fully_connected",
    "pooled",
    "quarter_logits",
    "resized_to",
]


class PointwiseConv(nn.Sequential):
    """1x1 convolution, batch norm, ReLU."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True))


class DenseConv(nn.Sequential):
    """3x3 convolution at an atrous rate, batch norm, ReLU."""

    def __init__(self, c_in: int, c_out: int, rate: int = 1) -> None:
        super().__init__(
            nn.Conv2d(c_in, c_out, 3, padding=rate, dilation=rate, bias=False),
            nn.BatchNorm2d(c_out),
            nn.ReLU(inplace=True),
        )


class SeparableConv(nn.Sequential):
    """3x3 depthwise at an atrous rate, then 1x1; each with batch norm and ReLU (Chen et al. 2018, fig. 3)."""

    def __init__(self, c_in: int, c_out: int, rate: int = 1) -> None:
        super().__init__(
            nn.Conv2d(c_in, c_in, 3, padding=rate, dilation=rate, groups=c_in, bias=False),
            nn.BatchNorm2d(c_in),
            nn.ReLU(inplace=True),
            *PointwiseConv(c_in, c_out),
        )


def atrous_conv(c_in: int, c_out: int, rate: int, is_separable: bool) -> nn.Module:
    """3x3 at a rate with batch norm and ReLU, of the kind that the config asks for."""
    return SeparableConv(c_in, c_out, rate) if is_separable else DenseConv(c_in, c_out, rate)


def fully_connected(c_in: int, c_out: int, kernel: int, rate: int, drop_share: float) -> nn.Sequential:
    """A fully connected layer of VGG as a convolution with ReLU and dropout; no batch norm, as in v1 and v2."""
    layer = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2 * rate, dilation=rate)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return nn.Sequential(layer, nn.ReLU(inplace=True), nn.Dropout(drop_share))


def pooled(x: Tensor) -> Tensor:
    """(n, c, h, w) -> (n, c, 1, 1): the mean over the whole map, black bars included."""
    return x.mean(dim=(2, 3), keepdim=True)


def resized_to(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear, to the finer map of the same picture.

    A convolution of stride 2 with padding 1 looks at every second pixel from the first on, so a map of stride s holds
    what lies at pixels 0, s, 2s, ... Taking its values for the middles of squares of s pixels instead, as resizing
    pictures does, moves it by (s - 1) / 2: 7.5 pixels at stride 16. (The papers' sizes, 513 and 769, with
    `align_corners` are the same thing.)
    """
    height, width = like.shape[2:]
    return _spread(x, height, width)[:, :, :height, :width]


def quarter_logits(x: Tensor, like: Tensor) -> Tensor:
    """A coarse map of logits at the middles of squares of four pixels, where all that follows expects them.

    Args:
        like: a map of stride 4.
    """
    height, width = like.shape[2:]
    fine = _spread(x, height, width)[:, :, : height + 1, : width + 1]
    # The middle of pixels 0 to 3 is 1.5, which is 0.375 of the way from one sample to the next.
    fine = fine[:, :, :-1] * (1 - MIDDLE) + fine[:, :, 1:] * MIDDLE
    return fine[:, :, :, :-1] * (1 - MIDDLE) + fine[:, :, :, 1:] * MIDDLE


def _spread(x: Tensor, height: int, width: int) -> Tensor:
    """To at least (height + 1, width + 1) samples of the finer stride; beyond the last one of `x` it stays the same."""
    factor = 1 << (max(-(-height // x.shape[2]), -(-width // x.shape[3])) - 1).bit_length()
    size = (x.shape[2] * factor + 1, x.shape[3] * factor + 1)
    return F.interpolate(F.pad(x, (0, 1, 0, 1), mode="replicate"), size=size, mode="bilinear", align_corners=True)
