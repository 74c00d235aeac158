"""MobileNetV3-Small and -Large with a chosen output stride.

Parameter names are torchvision's (`features.N.block.M...`), its last 1x1 included, as in its own DeepLabv3. The
trap: batch norm has epsilon 0.001 here; with PyTorch's 0.00001 published weights give other numbers.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from engines.models.backbones.base import Backbone
from engines.models.backbones.mobilenet_v2 import divisible_by_8

__all__ = ["LARGE", "SMALL", "MobileNetV3"]

BATCH_NORM_EPSILON = 0.001
STEM_CHANNELS = 16
LAST_EXPANSION = 6
SQUEEZE = 4

Row = tuple[int, int, int, bool, bool, int]
# kernel, expanded channels, channels, squeeze and excite, hard swish, stride: Howard et al. 2019, table 1.
LARGE: tuple[Row, ...] = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)
# The same, table 2.
SMALL: tuple[Row, ...] = (
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
)


class MobileNetV3(Backbone):
    """`mobilenet_v3_large().features` or `mobilenet_v3_small().features` of torchvision."""

    first_convolution = "features.0.0.weight"

    def __init__(self, rows: tuple[Row, ...], output_stride: int = 16) -> None:
        super().__init__()
        features: list[nn.Module] = [_conv_norm(3, STEM_CHANNELS, 3, stride=2, activation=nn.Hardswish)]
        c_in, reached, rate = STEM_CHANNELS, 2, 1
        for kernel, expanded, channels, is_squeezed, is_hard_swish, wanted in rows:
            stride, own_rate = wanted, rate
            if wanted == 2 and reached == output_stride:
                # As in MobileNetV2: the block that lost its stride keeps its rate, those after it double theirs.
                stride, rate = 1, rate * 2
            reached *= stride
            activation = nn.Hardswish if is_hard_swish else nn.ReLU
            features.append(
                InvertedResidual(c_in, kernel, expanded, channels, is_squeezed, activation, stride, own_rate)
            )
            c_in = channels
            if reached == 4:
                self._low_block, self.low_channels = len(features) - 1, channels
        self.high_channels = LAST_EXPANSION * c_in
        features.append(_conv_norm(c_in, self.high_channels, 1, activation=nn.Hardswish))
        self.features = nn.Sequential(*features)

    def forward(self, image_rgb: Tensor) -> tuple[Tensor, Tensor]:
        """See `Backbone`; Large: 24 and 960 channels, Small: 16 and 576."""
        low = x = image_rgb
        for index, block in enumerate(self.features):
            x = block(x)
            if index == self._low_block:
                low = x
        return low, x


class InvertedResidual(nn.Module):
    """Expand by 1x1, filter each channel, weigh the channels, project by 1x1 without activation."""

    def __init__(
        self,
        c_in: int,
        kernel: int,
        expanded: int,
        c_out: int,
        is_squeezed: bool,
        activation: type[nn.Module],
        stride: int,
        rate: int,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if expanded != c_in:
            layers.append(_conv_norm(c_in, expanded, 1, activation=activation))
        layers.append(_conv_norm(expanded, expanded, kernel, stride, expanded, rate, activation))
        if is_squeezed:
            layers.append(SqueezeExcitation(expanded, divisible_by_8(expanded // SQUEEZE)))
        layers.append(_conv_norm(expanded, c_out, 1))
        self.block = nn.Sequential(*layers)
        self.has_shortcut = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        """Same size divided by the stride."""
        filtered: Tensor = self.block(x)
        return x + filtered if self.has_shortcut else filtered


class SqueezeExcitation(nn.Module):
    """A weight in 0..1 for each channel, from the channels' means over the map."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        means = x.mean(dim=(2, 3), keepdim=True)
        return x * F.hardsigmoid(self.fc2(F.relu(self.fc1(means))))


def _conv_norm(
    c_in: int,
    c_out: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    rate: int = 1,
    activation: type[nn.Module] | None = None,
) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(
            c_in,
            c_out,
            kernel,
            stride,
            padding=(kernel - 1) // 2 * rate,
            dilation=rate,
            groups=groups,
            bias=False,
        ),
        nn.BatchNorm2d(c_out, eps=BATCH_NORM_EPSILON, momentum=0.01),
    ]
    if activation is not None:
        layers.append(activation(inplace=True))
    return nn.Sequential(*layers)
