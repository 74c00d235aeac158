"""MobileNetV2, cut after its last inverted residual, with a chosen output stride.

Parameter names are torchvision's (`features.N...`), so its published weights load with `strict=True`;
torchvision itself is not needed. The trap: with output stride 16 the blocks after the removed stride keep
their weights but need dilation 2, else they see half of what they were trained to see.
"""

from torch import Tensor, nn

__all__ = ["HIGH_CHANNELS", "LOW_CHANNELS", "ConvNormActivation", "InvertedResidual", "MobileNetV2"]

LOW_CHANNELS = 24
"""Channels of the feature map at stride 4 (`features.3`)."""
HIGH_CHANNELS = 320
"""Channels of the last feature map (`features.17`)."""

LOW_LEVEL_BLOCK = 3
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


class MobileNetV2(nn.Module):
    """`mobilenet_v2().features[:18]` of torchvision, with an output stride of 8, 16 or 32."""

    def __init__(self, output_stride: int = 16) -> None:
        super().__init__()
        if output_stride not in (8, 16, 32):
            raise ValueError(f"output stride {output_stride}: expected 8, 16 or 32")
        features: list[nn.Module] = [ConvNormActivation(3, 32, stride=2)]
        c_in, reached, dilation = 32, 2, 1
        for expansion, channels, blocks, wanted in STAGES:
            stride, first_dilation = wanted, dilation
            if wanted == 2 and reached == output_stride:
                # The stride goes; the block that had it keeps its dilation, the ones after it double theirs.
                stride, dilation = 1, dilation * 2
            reached *= stride
            for block in range(blocks):
                is_first = block == 0
                features.append(
                    InvertedResidual(
                        c_in, channels, stride if is_first else 1, expansion, first_dilation if is_first else dilation
                    )
                )
                c_in = channels
        self.features = nn.Sequential(*features)

    def forward(self, image_rgb: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 3, H, W) in -1..1 -> (n, 24, H/4, W/4) and (n, 320, H/stride, W/stride)."""
        low = x = image_rgb
        for index, block in enumerate(self.features):
            x = block(x)
            if index == LOW_LEVEL_BLOCK:
                low = x
        return low, x
