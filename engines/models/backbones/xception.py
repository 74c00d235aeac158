"""Modified aligned Xception-65 (Chen et al. 2018, "Encoder-Decoder ...", figure 4).

Against Chollet's Xception: a longer middle flow, every max pooling a separable convolution with a stride, and
batch norm and ReLU after each 3x3 depthwise convolution. torchvision has no such network, so the names are ours
and no published file loads by name; the authors' weights are a TensorFlow checkpoint. The trap: in the entry and
middle flows the activation comes before each separable convolution, inside them and in the last three after.
"""

from torch import Tensor, nn

from engines.models.backbones.base import Backbone

__all__ = ["Separable", "Xception65", "XceptionBlock"]

N_MIDDLE = 16
BATCH_NORM_EPSILON = 0.001


class Xception65(Backbone):
    """Entry flow, sixteen middle blocks, exit flow, with an output stride of 8, 16 or 32."""

    first_convolution = "stem.0.weight"
    low_channels = 256
    high_channels = 2048

    def __init__(self, output_stride: int = 16) -> None:
        super().__init__()
        # (stride, rate) of the blocks that may lose their stride; a rate starts behind a stride that went.
        third, exit_stride = (2 if output_stride >= 16 else 1), (2 if output_stride == 32 else 1)
        middle_rate = 2 if output_stride == 8 else 1
        exit_rate = {32: 1, 16: 2, 8: 4}[output_stride]
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2, padding=1, bias=False),
            _norm(32),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 64, 3, padding=1, bias=False),
            _norm(64),
        )
        self.entry1 = XceptionBlock(64, (128, 128, 128), stride=2)
        self.entry2 = XceptionBlock(128, (256, 256, 256), stride=2)
        self.entry3 = XceptionBlock(256, (728, 728, 728), stride=third)
        self.middle = nn.Sequential(
            *(XceptionBlock(728, (728, 728, 728), rate=middle_rate, has_projection=False) for _ in range(N_MIDDLE))
        )
        self.exit1 = XceptionBlock(728, (728, 1024, 1024), stride=exit_stride, rate=middle_rate)
        self.exit2 = nn.Sequential(
            Separable(1024, 1536, rate=exit_rate, is_activated=True),
            Separable(1536, 1536, rate=exit_rate, is_activated=True),
            Separable(1536, 2048, rate=exit_rate, is_activated=True),
        )

    def forward(self, image_rgb: Tensor) -> tuple[Tensor, Tensor]:
        """See `Backbone`; low is block 2 of the entry flow before its stride, as in the authors' code."""
        x = self.entry1(nn.functional.relu(self.stem(image_rgb)))
        low = self.entry2.before_stride(x)
        x = self.entry3(self.entry2(x, low))
        high: Tensor = self.exit2(self.exit1(self.middle(x)))
        return low, high


class XceptionBlock(nn.Module):
    """Three separable convolutions, the last with the stride, beside a shortcut."""

    def __init__(
        self, c_in: int, channels: tuple[int, int, int], stride: int = 1, rate: int = 1, has_projection: bool = True
    ) -> None:
        super().__init__()
        first, second, third = channels
        self.first = Separable(c_in, first, rate=rate)
        self.second = Separable(first, second, rate=rate)
        self.third = Separable(second, third, stride, rate)
        self.shortcut: nn.Module = nn.Identity()
        if has_projection:
            self.shortcut = nn.Sequential(nn.Conv2d(c_in, third, 1, stride, bias=False), _norm(third))

    def before_stride(self, x: Tensor) -> Tensor:
        """The map of the second convolution, at the size of the input."""
        second: Tensor = self.second(self.first(x))
        return second

    def forward(self, x: Tensor, before_stride: Tensor | None = None) -> Tensor:
        """Same size divided by the stride; `before_stride` when it is already there."""
        inner = self.before_stride(x) if before_stride is None else before_stride
        added: Tensor = self.third(inner) + self.shortcut(x)
        return added


class Separable(nn.Module):
    """3x3 of each channel, then 1x1, batch norm after both.

    Args:
        is_activated: ReLU after each (exit flow); else one ReLU before, as the entry and middle flows have it.
    """

    def __init__(self, c_in: int, c_out: int, stride: int = 1, rate: int = 1, is_activated: bool = False) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(c_in, c_in, 3, stride, padding=rate, dilation=rate, groups=c_in, bias=False)
        self.depthwise_norm = _norm(c_in)
        self.pointwise = nn.Conv2d(c_in, c_out, 1, bias=False)
        self.pointwise_norm = _norm(c_out)
        self.is_activated = is_activated

    def forward(self, x: Tensor) -> Tensor:
        """Same size divided by the stride."""
        relu = nn.functional.relu
        if not self.is_activated:
            return self._pointwise(self.depthwise_norm(self.depthwise(relu(x))))
        return relu(self._pointwise(relu(self.depthwise_norm(self.depthwise(x)))))

    def _pointwise(self, x: Tensor) -> Tensor:
        normed: Tensor = self.pointwise_norm(self.pointwise(x))
        return normed


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPSILON)
