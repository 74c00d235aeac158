"""Parameters and multiply-adds against the published figures, and the receptive field against a formula."""

from typing import Any

import pytest
import torch

from engines.models.config import ModelConfig
from engines.models.deeplab import build
from engines.models.facts import facts_of, papers_config

pytestmark = pytest.mark.torch

DENSE = {"aspp_channels": 256, "low_channels": 48, "is_separable": False, "decoder_convs": 1}
SEPARABLE = {"aspp_channels": 256, "low_channels": 48}


def _facts(options: dict[str, Any], side: int = 513) -> Any:
    with torch.device("meta"):
        model = build(ModelConfig.model_validate(options), 21)
    return facts_of(model, side, side)


@pytest.mark.parametrize(
    ("options", "gmac"),
    [
        # VainF/DeepLabV3Plus-Pytorch, README, "Performance on Pascal VOC2012 Aug": its decoder has one 3x3.
        ({"backbone": "mobilenet_v2", **DENSE}, 17.0),
        ({"backbone": "resnet50", **DENSE}, 62.7),
        ({"backbone": "resnet101", **DENSE}, 83.4),
        # tensorflow/models, research/deeplab/g3doc/model_zoo.md, xception_coco_voc_trainaug at output stride 16.
        ({"backbone": "xception65", **SEPARABLE}, 54.17),
        # The same table, mobilenetv2_coco_voc_trainaug.
        ({"version": "voc"}, 2.75),
    ],
)
def test_multiply_adds_are_the_published_ones(options: dict[str, Any], gmac: float) -> None:
    """At 513x513, output stride 16 and 21 classes, within 2 %."""
    assert _facts(options).gmac == pytest.approx(gmac, rel=0.02)


@pytest.mark.parametrize(
    ("backbone", "published", "classifier"),
    [
        # torchvision's documentation (num_params), less the layers after the last feature map.
        ("vgg16", 138_357_544, 512 * 49 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 1000 + 1000),
        ("resnet18", 11_689_512, 512 * 1000 + 1000),
        ("resnet50", 25_557_032, 2048 * 1000 + 1000),
        ("resnet101", 44_549_160, 2048 * 1000 + 1000),
        # features.18 (1x1 to 1280 and its norm) goes with the classifier.
        ("mobilenet_v2", 3_504_872, 320 * 1280 + 2 * 1280 + 1280 * 1000 + 1000),
        ("mobilenet_v3_large", 5_483_032, 960 * 1280 + 1280 + 1280 * 1000 + 1000),
        ("mobilenet_v3_small", 2_542_856, 576 * 1024 + 1024 + 1024 * 1000 + 1000),
    ],
)
def test_backbones_have_the_published_number_of_parameters(backbone: str, published: int, classifier: int) -> None:
    """To the last one."""
    assert _facts({"backbone": backbone}, 64).n_backbone_parameters == published - classifier


def test_a_larger_image_costs_in_proportion() -> None:
    """Twice the sides, four times the work; the parameters stay."""
    small, large = _facts({}, 128), _facts({}, 256)

    assert large.gmac == pytest.approx(4 * small.gmac, rel=0.01)
    assert large.n_parameters == small.n_parameters


def test_the_receptive_field_grows_with_the_rates() -> None:
    """VGG-16 by hand, at stride 8: 3x3 convolutions 2+2+3 and three poolings, then conv4, conv5 and fc6.

    Each adds (kernel - 1) x rate x stride: stride 1: 2 convolutions and a pooling, 6; stride 2: the same, 12;
    stride 4: 3 and a pooling, 32; stride 8: conv4 48, pool4 16, conv5 at rate 2 96, pool5 16, fc6 at rate 12 192.
    """
    facts = _facts({"version": "v1", "backbone": "vgg16", "output_stride": 8}, 64)

    assert facts.receptive_px == 1 + 6 + 12 + 32 + 48 + 16 + 96 + 16 + 192
    assert not facts.sees_whole_image


def test_image_pooling_sees_the_whole_image() -> None:
    """From v3 on; v2 sees what its rates reach."""
    assert _facts({"version": "v3"}, 64).sees_whole_image
    assert not _facts({"version": "v2"}, 64).sees_whole_image


def test_counting_leaves_the_weights_alone() -> None:
    """The network counted is a copy without values."""
    model = build(ModelConfig(aspp_channels=8), 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}

    facts_of(model, 64, 64)

    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_the_papers_channels_are_the_papers() -> None:
    """256 and 48 for v3+, dense 256 for v3, 1024 for fc6 of v1."""
    assert papers_config("v3plus", "xception65").low_channels == 48
    assert not papers_config("v3", "resnet101").is_separable
    assert papers_config("v1", "vgg16", 8).aspp_channels == 1024
