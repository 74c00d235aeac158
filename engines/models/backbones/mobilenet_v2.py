"""MobileNetV2, cut after its last inverted residual, with a chosen output stride.

Parameter names are torchvision's (`features.N...`), without `features.18`, which only the classifier needs. The
trap: with output stride 16 the blocks after the removed stride keep their weights but need dilation 2, else they
see half of what they were trained to see.
"""

from torch import Tensor, nn

from engines.models.backbones.base import Backbone

__all__ = ["ConvNormActivation", "InvertedResidual", "MobileNetV2", "divisible_by_8"]

LOW_LEVEL_BLOCK = 3
STEM_CHANNELS = 32
EXPANSION = 6
STAGES = (
    # expansion, channels, blocks, stride: Sandler et al. 2018, table 2
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class ConvNormActivation(nn.Sequential):
    """Convolution without bias, batch norm, ReLU6."""

    def __init__(
        self, c_in: int, c_out: int, kernel: int = 3, stride: int = 1, groups: int = 1, dilation: int = 1
    ) -> None:
        super().__init__(
            nn.Conv2d(
                c_in,
                c_out,
                kernel,
                stride,
                padding=(kernel - 1) // 2 * dilation,
                dilation=dilation,
                groups=groups,
                bias=False,
            ),
            nn.BatchNorm2d(c_out),
            nn.ReLU6(inplace=True),
        )


class InvertedResidual(nn.Module):
    """Expand by 1x1, filter each channel by 3x3, project by 1x1 without activation."""

    def __init__(self, c_in: int, c_out: int, stride: int, expansion: int, dilation: int) -> None:
        super().__init__()
        hidden = c_in * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(ConvNormActivation(c_in, hidden, kernel=1))
        layers += [
            ConvNormActivation(hidden, hidden, stride=stride, groups=hidden, dilation=dilation),
            nn.Conv2d(hidden, c_out, 1, bias=False),
            nn.BatchNorm2d(c_out),
        ]
        self.conv = nn.Sequential(*layers)
        self.has_shortcut = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        """Same size divided by the stride."""
        filtered: Tensor = self.conv(x)
        return x + filtered if self.has_shortcut else filtered


class MobileNetV2(Backbone):
    """`mobilenet_v2().features[:18]` of torchvision, with an output stride of 8, 16 or 32."""

    first_convolution = "features.0.0.weight"

    def __init__(self, output_stride: int = 16, width: float = 1.0) -> None:
        super().__init__()
        if output_stride not in (8, 16, 32):
            raise ValueError(f"output stride {output_stride}: expected 8, 16 or 32")
        c_in = divisible_by_8(STEM_CHANNELS * width)
        features: list[nn.Module] = [ConvNormActivation(3, c_in, stride=2)]
        reached, dilation = 2, 1
        for expansion, channels, blocks, wanted in STAGES:
            stride, first_dilation = wanted, dilation
            if wanted == 2 and reached == output_stride:
                # The stride goes; the block that had it keeps its dilation, the ones after it double theirs.
                stride, dilation = 1, dilation * 2
            reached *= stride
            c_out = divisible_by_8(channels * width)
            for block in range(blocks):
                is_first = block == 0
                features.append(
                    InvertedResidual(
                        c_in, c_out, stride if is_first else 1, expansion, first_dilation if is_first else dilation
                    )
                )
                c_in = c_out
        self.features = nn.Sequential(*features)
        self.low_channels = divisible_by_8(STAGES[1][1] * width)
        self.high_channels = c_in

    def forward(self, image_rgb: Tensor) -> tuple[Tensor, Tensor]:
        """See `Backbone`; with width 1 the maps have 24 and 320 channels."""
        low = x = image_rgb
        for index, block in enumerate(self.features):
            x = block(x)
            if index == LOW_LEVEL_BLOCK:
                low = x
        return low, x

    def extra_block(self, c_in: int, rates: tuple[int, int, int]) -> tuple[nn.Module, int]:
        """Three more inverted residuals of 160 channels, as the last stage that has three.

        The paper cascades ResNet only; this is the same idea at a size that fits the network.
        """
        c_out = self.features.get_submodule("16.conv.3").num_features
        assert isinstance(c_out, int)
        units = [InvertedResidual(c_in, c_out, 1, EXPANSION, rates[0])]
        units += [InvertedResidual(c_out, c_out, 1, EXPANSION, rate) for rate in rates[1:]]
        return nn.Sequential(*units), c_out


def divisible_by_8(channels: float) -> int:
    """The nearest multiple of 8 that loses at most a tenth: what both MobileNet papers' code rounds channels to."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
