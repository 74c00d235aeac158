"""ResNet-18, -50 and -101 with strides traded for rates, and multi-grid in the last block.

Parameter names are torchvision's (`conv1`, `bn1`, `layer1` ... `layer4`); the stride of a bottleneck is on its 3x3,
as there ("v1.5"). The trap: the unit that loses its stride keeps the rate before it; only the units after it
take the doubled one, so that the weights see what they were trained to see.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from engines.models.backbones.base import Backbone

__all__ = ["BasicUnit", "Bottleneck", "ResNet"]

CHANNELS = (64, 128, 256, 512)


class BasicUnit(nn.Module):
    """Two 3x3 and a shortcut: the unit of ResNet-18; the second 3x3 already lies behind a stride that went."""

    expansion = 1

    def __init__(self, c_in: int, channels: int, stride: int, rate: int, rate_after: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, channels, 3, stride, padding=rate, dilation=rate, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=rate_after, dilation=rate_after, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = _shortcut(c_in, channels * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Same size divided by the stride."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        activated: Tensor = self.relu(self.bn2(self.conv2(x)) + shortcut)
        return activated


class Bottleneck(nn.Module):
    """1x1 down, 3x3, 1x1 up, and a shortcut: the unit of ResNet-50 and -101; nothing with holes after its 3x3."""

    expansion = 4

    def __init__(self, c_in: int, channels: int, stride: int, rate: int, rate_after: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=rate, dilation=rate, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(c_in, channels * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Same size divided by the stride."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        activated: Tensor = self.relu(self.bn3(self.conv3(x)) + shortcut)
        return activated


class ResNet(Backbone):
    """`resnetN()` of torchvision without its classifier, with an output stride of 8, 16 or 32."""

    first_convolution = "conv1.weight"

    def __init__(
        self,
        unit: type[BasicUnit] | type[Bottleneck],
        n_units: tuple[int, int, int, int],
        output_stride: int = 16,
        multi_grid: tuple[int, int, int] = (1, 1, 1),
    ) -> None:
        super().__init__()
        self._unit = unit
        self.conv1 = nn.Conv2d(3, CHANNELS[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(CHANNELS[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        c_in, reached, rate = CHANNELS[0], 4, 1
        layers = []
        for index, (channels, n) in enumerate(zip(CHANNELS, n_units, strict=True)):
            stride, first_rate = (1 if index == 0 else 2), rate
            if stride == 2 and reached == output_stride:
                stride, rate = 1, rate * 2
            reached *= stride
            rates = [first_rate] + [rate] * (n - 1)
            if index == 3 and multi_grid != (1, 1, 1):
                # Chen et al. 2017 (v3), section 3.2: with multi-grid every unit takes its multiple of the block's rate.
                rates = [rate * factor for factor in multi_grid]
            layers.append(_block(unit, c_in, channels, stride, rates, rate))
            c_in = channels * unit.expansion
        self.layer1, self.layer2, self.layer3, self.layer4 = layers
        self.low_channels = CHANNELS[0] * unit.expansion
        self.high_channels = c_in

    def forward(self, image_rgb: Tensor) -> tuple[Tensor, Tensor]:
        """See `Backbone`: the ends of block 1 and of block 4 (`layer1`, `layer4`)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(image_rgb))))
        low: Tensor = self.layer1(x)
        high: Tensor = self.layer4(self.layer3(self.layer2(low)))
        return low, high

    def extra_block(self, c_in: int, rates: tuple[int, int, int]) -> tuple[nn.Module, int]:
        """A copy of block 4's shape: three units of 512 channels (2048 out of bottlenecks)."""
        return _block(self._unit, c_in, CHANNELS[-1], 1, rates, rates[0]), CHANNELS[-1] * self._unit.expansion


def _block(
    unit: type[BasicUnit] | type[Bottleneck], c_in: int, channels: int, stride: int, rates: Sequence[int], after: int
) -> nn.Sequential:
    """Units at their rates; `after` is the rate of what follows the first unit's strided convolution inside it."""
    units: list[nn.Module] = [unit(c_in, channels, stride, rates[0], after)]
    units += [unit(channels * unit.expansion, channels, 1, rate, rate) for rate in rates[1:]]
    return nn.Sequential(*units)


def _shortcut(c_in: int, c_out: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and c_in == c_out:
        return None
    return nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))
