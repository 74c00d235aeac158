"""Which networks are timed, and why each is there.

Two groups answer two questions: the networks *as published*, each with its paper's own backbone, stride and
channels, and the versions on *one and the same backbone*, where only the head differs.
"""

from dataclasses import dataclass, field
from typing import Any

from engines.models.deeplab import ModelConfig
from engines.size import DEFAULT_SIZE, Size

__all__ = ["NETWORKS", "N_CLASSES", "SIZES", "Network"]

N_CLASSES = 21
"""Pascal VOC's, as in the papers."""

PAPER_SIZE = Size(512, 512)
SIZES = (DEFAULT_SIZE, PAPER_SIZE)
"""A stream's own, and the papers' 513x513 brought to a multiple of 32, as engines want it."""


@dataclass(frozen=True)
class Network:
    """One row of the tables."""

    name: str
    version: str
    """`v1` to `v3+`, as the papers count."""
    group: str
    """`published`, `same backbone` or `backbones`."""
    model: dict[str, Any] = field(hash=False)
    """Of `ModelConfig`; papers' channels where nothing else is said."""
    about: str = ""
    """Where the pairing comes from."""
    sizes: tuple[Size, ...] = SIZES

    @property
    def config(self) -> ModelConfig:
        """For `build`."""
        return ModelConfig.model_validate(self.model)

    @property
    def has_crf(self) -> bool:
        """The papers of v1 and v2 put a dense CRF behind the network; v3 and v3+ dropped it."""
        return self.version in ("v1", "v2")


_DENSE = {"aspp_channels": 256, "low_channels": 48, "is_separable": False}
_SEPARABLE = {"aspp_channels": 256, "low_channels": 48, "is_separable": True}
_SMALL = {"aspp_channels": 128, "low_channels": 32, "is_separable": True}
_MULTI_SCALE = (0.5, 0.75, 1.0)

NETWORKS: tuple[Network, ...] = (
    # As published.
    Network(
        "v1 VGG-16 LargeFOV", "v1", "published",
        {"version": "v1", "backbone": "vgg16", "output_stride": 8, "aspp_channels": 1024},
        "Chen et al. 2015, table 2",
    ),
    Network(
        "v2 ResNet-101", "v2", "published",
        {"version": "v2", "backbone": "resnet101", "output_stride": 8},
        "Chen et al. 2017 (DeepLab), section 4.1.2, one scale",
    ),
    Network(
        "v2 ResNet-101, 3 scales", "v2", "published",
        {"version": "v2", "backbone": "resnet101", "output_stride": 8, "input_scales": _MULTI_SCALE},
        "the same, scales 0.5, 0.75 and 1: the network behind its figures",
    ),
    Network(
        "v3 ResNet-101 OS16", "v3", "published",
        {"version": "v3", "backbone": "resnet101", "multi_grid": (1, 2, 4), **_DENSE},
        "Chen et al. 2017 (v3), table 5, as trained",
    ),
    Network(
        "v3 ResNet-101 OS8", "v3", "published",
        {"version": "v3", "backbone": "resnet101", "output_stride": 8, "multi_grid": (1, 2, 4), **_DENSE},
        "the same, as evaluated",
    ),
    Network(
        "v3+ Xception-65 OS16", "v3+", "published",
        {"version": "v3plus", "backbone": "xception65", **_SEPARABLE},
        "Chen et al. 2018 (v3+), table 5",
    ),
    Network("v3+ ResNet-101 OS16", "v3+", "published",
            {"version": "v3plus", "backbone": "resnet101", "multi_grid": (1, 2, 4), **_DENSE},
            "Chen et al. 2018 (v3+), table 3"),
    # One backbone, every version: only the head differs.
    Network("v1 MobileNetV2", "v1", "same backbone",
            {"version": "v1", "backbone": "mobilenet_v2", "aspp_channels": 256}),
    Network("v2 MobileNetV2", "v2", "same backbone",
            {"version": "v2", "backbone": "mobilenet_v2", "aspp_channels": 256}),
    Network("v3 MobileNetV2", "v3", "same backbone", {"version": "v3", "backbone": "mobilenet_v2", **_DENSE}),
    Network("v3+ MobileNetV2", "v3+", "same backbone", {"version": "v3plus", "backbone": "mobilenet_v2", **_DENSE}),
    Network("v3+ MobileNetV2, separable heads", "v3+", "same backbone",
            {"version": "v3plus", "backbone": "mobilenet_v2", **_SEPARABLE},
            "the paper's own kind of head (Chen et al. 2018, section 3.1)"),
    # What a stream would take.
    Network("v3+ ResNet-50", "v3+", "backbones", {"version": "v3plus", "backbone": "resnet50", **_SEPARABLE}),
    Network("v3+ ResNet-18", "v3+", "backbones", {"version": "v3plus", "backbone": "resnet18", **_SEPARABLE}),
    Network("v3+ MobileNetV2, 128 channels", "v3+", "backbones",
            {"version": "v3plus", "backbone": "mobilenet_v2", **_SMALL}, "the shipped engine's network"),
    Network("v3+ MobileNetV2 x 0.5, 128 channels", "v3+", "backbones",
            {"version": "v3plus", "backbone": "mobilenet_v2", "width": 0.5, **_SMALL}),
    Network("v3+ MobileNetV3-Large, 128 channels", "v3+", "backbones",
            {"version": "v3plus", "backbone": "mobilenet_v3_large", **_SMALL}),
    Network("v3+ MobileNetV3-Small, 128 channels", "v3+", "backbones",
            {"version": "v3plus", "backbone": "mobilenet_v3_small", **_SMALL}),
)  # fmt: skip
