"""VGG-16 made dense, as DeepLab v1 and v2 take it: convolutions only, the last poolings at stride 1.

Parameter names are torchvision's (`features.N`). The traps: poolings are 3x3 with padding 1, as in the authors'
released network (2x2 in torchvision), because a 2x2 pooling at stride 1 would shift the map by half a pixel; and
the fully connected layers live in the heads of v1 and v2 as convolutions (see `weights.decimated`).
"""

from torch import Tensor, nn

from engines.models.backbones.base import Backbone

__all__ = ["VGG16"]

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""(channels, convolutions) between poolings: Simonyan and Zisserman 2015, table 1, column D."""
STAGE_AT_STRIDE_4 = 2


class VGG16(Backbone):
    """`vgg16().features` of torchvision, with an output stride of 8 (the papers'), 16 or 32."""

    first_convolution = "features.0.weight"
    low_channels = 256
    high_channels = 512

    def __init__(self, output_stride: int = 8) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        c_in, reached, rate = 3, 1, 1
        self._ends: list[int] = []
        for channels, n_convolutions in STAGES:
            for _ in range(n_convolutions):
                layers += [nn.Conv2d(c_in, channels, 3, padding=rate, dilation=rate), nn.ReLU(inplace=True)]
                c_in = channels
            is_strided = reached < output_stride
            # Convolutions after a pooling that lost its stride take the holes: conv5 has rate 2 at output stride 8.
            reached, rate = (reached * 2, rate) if is_strided else (reached, rate * 2)
            layers.append(nn.MaxPool2d(3, stride=2 if is_strided else 1, padding=1))
            self._ends.append(len(layers))
        self.features = nn.Sequential(*layers)

    def stages(self, image_rgb: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The last map at stride 4 (conv3_3), and the output of each of the five poolings."""
        low = x = image_rgb
        poolings = []
        for index, layer in enumerate(self.features):
            if index + 1 == self._ends[STAGE_AT_STRIDE_4]:
                low = x
            x = layer(x)
            if index + 1 in self._ends:
                poolings.append(x)
        return low, poolings

    def forward(self, image_rgb: Tensor) -> tuple[Tensor, Tensor]:
        """See `Backbone`: conv3_3 with 256 channels, pool5 with 512."""
        low, poolings = self.stages(image_rgb)
        return low, poolings[-1]
