"""Which member of the family, and its measures: everything that is needed to build a network again.

The trap: rates belong to a stride. `atrous_rates` are the published ones, at the stride at which they were
published (8 for v1 and v2, 16 from v3 on); at another `output_stride` they see the same part of the image, so they
are doubled or halved (`rates`).
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from configs import Options
from engines.models.normalisation import NormalisationName

__all__ = ["BACKBONE_NAMES", "VERSIONS", "BackboneName", "ModelConfig", "OutputStride", "Version"]

Version = Literal["v1", "v2", "v3", "v3plus", "voc"]
VERSIONS: tuple[Version, ...] = ("v1", "v2", "v3", "v3plus", "voc")
BackboneName = Literal[
    "vgg16",
    "resnet18",
    "resnet50",
    "resnet101",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "xception65",
]
BACKBONE_NAMES: tuple[BackboneName, ...] = (
    "vgg16", "resnet18", "resnet50", "resnet101", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large",
    "xception65",
)  # fmt: skip
OutputStride = Literal[8, 16, 32]

PUBLISHED_RATES: dict[Version, tuple[int, ...]] = {
    "v1": (12,),
    "v2": (6, 12, 18, 24),
    "v3": (6, 12, 18),
    "v3plus": (6, 12, 18),
    "voc": (),
}
PUBLISHED_AT_STRIDE: dict[Version, int] = {"v1": 8, "v2": 8, "v3": 16, "v3plus": 16, "voc": 16}
# v1 and v2 with VGG-16: 0.5 after fc6 and fc7, as the classification network had. v3 and v3+: the authors' TensorFlow
# code keeps 0.9 after the projection of the ASPP.
PUBLISHED_DROPOUT: dict[Version, float] = {"v1": 0.5, "v2": 0.5, "v3": 0.1, "v3plus": 0.1, "voc": 0.0}
CASCADED_BACKBONES = ("resnet50", "resnet101", "resnet18", "mobilenet_v2")


class ModelConfig(Options):
    """What a checkpoint needs to be built again. The defaults are the shipped engine's, not a paper's."""

    version: Version = "v3plus"
    """v1, v2, v3, v3plus; `voc` is the small DeepLabv3 that Google published for Pascal VOC."""
    backbone: BackboneName = "mobilenet_v2"
    """The network that sees; its weights can come from ImageNet."""
    width: float = Field(1.0, gt=0, le=2)
    """Multiplies the channels of MobileNetV2; 1 for every other backbone."""
    output_stride: OutputStride = 16
    """Of the last feature map. Trained at one and evaluated at another is allowed, see `with_output_stride`."""
    normalisation: NormalisationName = "unit"
    """`imagenet` for torchvision's weights, `unit` (-1..1) for Google's."""
    aspp_channels: int = Field(128, gt=0)
    """Channels of ASPP and decoder (256 in the papers), or of fc6 and fc7 in v1 and v2-VGG (1024 in the papers)."""
    decoder_channels: int | None = Field(None, gt=0)
    """v3plus: channels of the decoder; the context is narrowed to them. None takes `aspp_channels`, as in the paper."""
    low_channels: int = Field(32, gt=0)
    """v3plus: the low-level features are reduced to this many (48 in the paper), so as not to outweigh the ASPP."""
    atrous_rates: tuple[int, ...] | None = None
    """Of LargeFOV or ASPP, as published (see the module); None is the version's own. ASPP-S of v2 is 2, 4, 8, 12."""
    is_separable: bool = True
    """v3, v3plus: depthwise separable 3x3s in ASPP and decoder (v3+, section 3.1) instead of dense ones."""
    decoder_convs: Literal[1, 2] = 2
    """v3plus: 3x3 convolutions of the decoder: 2 in the paper (table 2), 1 in a well-known PyTorch version."""
    dropout: float | None = Field(None, ge=0, lt=1)
    """None is the version's own: 0.5 after fc6 and fc7, 0.1 after the ASPP."""
    multi_grid: tuple[int, int, int] = (1, 1, 1)
    """v3 with ResNet-50 or -101: rates of the three units of block 4, and of the blocks after it, relative to it."""
    is_cascaded: bool = False
    """v3: blocks 5 to 7 in a row instead of ASPP (figure 3 of the paper)."""
    has_multi_scale_features: bool = False
    """v1 with VGG-16: the input and the first four poolings are classified too (section 4.1, "MSc")."""
    input_scales: tuple[float, ...] = (1.0,)
    """v2: the image is seen at each of these (0.5, 0.75, 1 in the paper) and the largest score counts."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.width != 1 and self.backbone != "mobilenet_v2":
            raise ValueError(f"width {self.width} is for mobilenet_v2; {self.backbone} has width 1 only")
        if self.is_cascaded and (self.version != "v3" or self.backbone not in CASCADED_BACKBONES):
            raise ValueError(
                f"is_cascaded is for version v3 with one of {', '.join(CASCADED_BACKBONES)}; "
                f"got {self.version} with {self.backbone}"
            )
        if self.multi_grid != (1, 1, 1) and not (self.is_cascaded or self.backbone in ("resnet50", "resnet101")):
            raise ValueError(f"multi_grid {self.multi_grid} needs resnet50, resnet101 or is_cascaded")
        if self.has_multi_scale_features and (self.version, self.backbone) != ("v1", "vgg16"):
            raise ValueError(f"has_multi_scale_features is for v1 with vgg16; got {self.version} with {self.backbone}")
        if self.input_scales != (1.0,) and self.version != "v2":
            raise ValueError(f"input_scales are for v2; got {self.version}")
        if 1.0 not in self.input_scales or any(not 0 < scale <= 2 for scale in self.input_scales):
            raise ValueError(f"input_scales {self.input_scales}: expected 1 among them, and each in 0..2")
        if self.version == "voc" and self.backbone != "mobilenet_v2":
            raise ValueError(f"version voc was published with mobilenet_v2; got {self.backbone}")
        if self.version == "v1" and self.atrous_rates is not None and len(self.atrous_rates) != 1:
            raise ValueError(f"v1 has one rate, that of fc6; got {self.atrous_rates}")
        return self

    @property
    def rates(self) -> tuple[int, ...]:
        """The rates at this output stride: they grow as the stride shrinks."""
        published = PUBLISHED_RATES[self.version] if self.atrous_rates is None else self.atrous_rates
        at = PUBLISHED_AT_STRIDE[self.version]
        return tuple(max(1, rate * at // self.output_stride) for rate in published)

    @property
    def drop_share(self) -> float:
        """The dropout that is built."""
        return PUBLISHED_DROPOUT[self.version] if self.dropout is None else self.dropout

    @property
    def title(self) -> str:
        """For manifests and tables: `DeepLabv3+, mobilenet_v2, output stride 16`."""
        version = {"v3plus": "DeepLabv3+", "voc": "DeepLabv3 (VOC)"}.get(self.version, f"DeepLab{self.version}")
        cascaded = " cascaded" if self.is_cascaded else ""
        width = "" if self.width == 1 else f" x {self.width:g}"
        return f"{version}{cascaded}, {self.backbone}{width}, output stride {self.output_stride}"
