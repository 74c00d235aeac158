"""Every version on every backbone: shapes, output strides, and what each paper asks for."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from engines.export.graph import ServedGraph
from engines.models.config import BACKBONE_NAMES, VERSIONS, BackboneName, ModelConfig, Version
from engines.models.deeplab import DeepLab, build, with_output_stride
from engines.models.layers import quarter_logits
from engines.models.v1 import DeepLabV1
from engines.models.v2 import DeepLabV2

pytestmark = pytest.mark.torch

PAIRS = [(v, b) for v in VERSIONS for b in BACKBONE_NAMES if v != "voc" or b == "mobilenet_v2"]
SMALL: dict[str, Any] = {"aspp_channels": 8, "low_channels": 4}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _small(**options: Any) -> DeepLab:
    torch.manual_seed(0)
    model = build(ModelConfig.model_validate({"backbone": "resnet18", **SMALL, **options}), 5)
    model.eval()
    return model


@pytest.mark.parametrize(("version", "backbone"), PAIRS)
def test_every_version_on_every_backbone_gives_logits_at_a_quarter(version: Version, backbone: BackboneName) -> None:
    """(n, C, H/4, W/4); and the named first convolutions are those that take three channels."""
    with torch.device("meta"):
        model = build(ModelConfig.model_validate({"version": version, "backbone": backbone, **SMALL}), 5).eval()
        logits = model(torch.zeros(2, 3, 64, 96))

    assert logits.shape == (2, 5, 16, 24)
    assert all(model.get_parameter(name).shape[1] == 3 for name in model.first_convolutions)


def test_the_papers_odd_sides_work_too() -> None:
    """513 = 16 x 32 + 1: the logits then have 129, one more than 512 / 4."""
    for version in VERSIONS:
        with torch.device("meta"):
            logits = build(ModelConfig(version=version, **SMALL), 5).eval()(torch.zeros(1, 3, 513, 513))

        assert logits.shape == (1, 5, 129, 129)


@pytest.mark.parametrize("backbone", BACKBONE_NAMES)
def test_the_maps_of_a_backbone_have_the_stated_channels_and_strides(backbone: BackboneName) -> None:
    """Low at stride 4, high at the output stride."""
    for stride in (8, 16, 32):
        with torch.device("meta"):
            seen = build(ModelConfig(backbone=backbone, output_stride=stride), 2).eval().backbone
            low, high = seen(torch.zeros(1, 3, 128, 128))

        assert low.shape == (1, seen.low_channels, 32, 32)
        assert high.shape == (1, seen.high_channels, 128 // stride, 128 // stride)


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_small", "xception65"])
def test_a_smaller_stride_computes_the_same_features_more_densely(backbone: BackboneName) -> None:
    """Holes instead of strides: every second pixel of the map at 16 is the map at 32, and so at 8.

    What makes published weights usable at any output stride. Padding is the same too, so it holds to the border.
    """
    torch.manual_seed(0)
    coarse = build(ModelConfig(backbone=backbone, output_stride=32, **SMALL), 2).eval()
    image = torch.rand(1, 3, 64, 64)

    with torch.no_grad():
        _, expected = coarse.backbone(image)
        for stride in (8, 16):
            _, dense = with_output_stride(coarse, stride).backbone(image)
            step = 32 // stride
            # Float32 sums in another order.
            torch.testing.assert_close(dense[:, :, ::step, ::step], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("version", "backbone"), [(v, b) for v, b in PAIRS if b in ("mobilenet_v2", "vgg16")])
def test_another_output_stride_takes_the_same_weights(version: Version, backbone: BackboneName) -> None:
    """The same keys, the same tensors, doubled rates at 8 and halved at 32."""
    with torch.device("meta"):
        model = build(ModelConfig(version=version, backbone=backbone, output_stride=16, **SMALL), 3)
    for stride in (8, 32):
        other = with_output_stride(model, stride)

        assert list(other.state_dict()) == list(model.state_dict())
        assert all(a is b for a, b in zip(other.parameters(), model.parameters(), strict=True))
        assert other.config.rates == tuple(rate * 16 // stride for rate in model.config.rates)


@pytest.mark.parametrize(
    ("version", "stride", "rates"),
    [
        ("v1", 8, (12,)),
        ("v2", 8, (6, 12, 18, 24)),
        ("v2", 16, (3, 6, 9, 12)),
        ("v3", 16, (6, 12, 18)),
        ("v3plus", 8, (12, 24, 36)),
        ("v3plus", 32, (3, 6, 9)),
    ],
)
def test_rates_are_the_papers_at_the_papers_stride(version: Version, stride: int, rates: tuple[int, ...]) -> None:
    """And see the same part of the image at every other stride."""
    assert ModelConfig.model_validate({"version": version, "output_stride": stride}).rates == rates


def test_v1_has_large_field_of_view_and_the_strides_of_its_paper() -> None:
    """VGG-16 at stride 8: the last two poolings at stride 1, conv5 with rate 2, fc6 3x3 with rate 12, no norms."""
    with torch.device("meta"):
        model = build(ModelConfig(version="v1", backbone="vgg16", output_stride=8, aspp_channels=1024), 21)
    assert isinstance(model, DeepLabV1)

    poolings = [m.stride for m in model.modules() if isinstance(m, nn.MaxPool2d)]
    convolutions = [m for m in model.backbone.modules() if isinstance(m, nn.Conv2d)]
    fc6 = model.fc6[0]

    assert poolings == [2, 2, 2, 1, 1]
    assert [c.dilation[0] for c in convolutions] == [1] * 10 + [2] * 3
    assert isinstance(fc6, nn.Conv2d)
    assert (fc6.kernel_size, fc6.dilation, fc6.out_channels) == ((3, 3), (12, 12), 1024)
    assert not [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    # Chen et al. 2015, table 2: LargeFOV has 20.5 million parameters.
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(20.5e6, rel=0.01)


def test_multi_scale_features_add_640_channels() -> None:
    """Five stages, 128 channels each, joined to fc7; the image enters the network twice."""
    with torch.device("meta"):
        config = ModelConfig(version="v1", backbone="vgg16", output_stride=8, has_multi_scale_features=True, **SMALL)
        model = build(config, 21).eval()
        logits = model(torch.zeros(1, 3, 64, 64))
    assert isinstance(model, DeepLabV1)

    assert model.classifier.in_channels == 8 + 640
    assert len(model.first_convolutions) == 2
    assert logits.shape == (1, 21, 16, 16)


def test_the_branches_of_v2_are_added() -> None:
    """One 3x3 to the classes for each rate; the logits are their sum."""
    model = _small(version="v2", output_stride=8)
    assert isinstance(model, DeepLabV2)
    image = torch.rand(1, 3, 32, 32)

    with torch.no_grad():
        _, high = model.backbone(image)
        summed = model.branches[0](high) + model.branches[1](high) + model.branches[2](high) + model.branches[3](high)
        logits = model(image)

    torch.testing.assert_close(logits, quarter_logits(summed, torch.empty(1, 1, 8, 8)))


def test_v2_takes_the_largest_score_over_the_scales_and_supervises_each() -> None:
    """Fused first, then full size, then the smaller ones; all at the same size."""
    model = _small(version="v2", output_stride=8, input_scales=(0.5, 0.75, 1.0))
    image = torch.rand(2, 3, 64, 64)

    with torch.no_grad():
        fused, *each = model.supervised(image)
        logits = model(image)

    assert len(each) == 3
    assert {x.shape for x in (fused, *each)} == {(2, 5, 16, 16)}
    torch.testing.assert_close(logits, torch.stack(each).amax(dim=0))
    torch.testing.assert_close(fused, logits)


def test_one_scale_is_supervised_once() -> None:
    """The default of every version: what the loss sees is what `forward` gives."""
    model = _small(version="v3")
    image = torch.rand(1, 3, 32, 32)

    with torch.no_grad():
        (seen,) = model.supervised(image)
        logits = model(image)

    torch.testing.assert_close(seen, logits)


def test_the_cascade_doubles_its_rates_and_multi_grid_multiplies_them() -> None:
    """Blocks 4 to 7 at 2, 4, 8 and 16 with output stride 16; units within a block at 1, 2 and 4 times that."""
    with torch.device("meta"):
        config = ModelConfig(version="v3", backbone="resnet50", is_cascaded=True, multi_grid=(1, 2, 4))
        model = build(config, 2)

    rates = [
        [m.dilation[0] for m in part.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
        for part in (model.backbone.get_submodule("layer4"), model.get_submodule("cascade"))
    ]

    assert rates == [[2, 4, 8], [4, 8, 16, 8, 16, 32, 16, 32, 64]]


def test_a_network_in_training_has_its_papers_dropout() -> None:
    """0.5 after fc6 and fc7, 0.1 after the ASPP, as asked otherwise."""
    shares = {
        (version, asked): [m.p for m in _small(version=version, dropout=asked).modules() if isinstance(m, nn.Dropout)]
        for version in ("v1", "v3plus")
        for asked in (None, 0.25)
    }

    assert shares == {
        ("v1", None): [0.5, 0.5],
        ("v1", 0.25): [0.25, 0.25],
        ("v3plus", None): [0.1],
        ("v3plus", 0.25): [0.25],
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"width": 0.5, "backbone": "vgg16"}, "width 0.5 is for mobilenet_v2"),
        ({"version": "v3", "backbone": "vgg16", "is_cascaded": True}, "got v3 with vgg16"),
        ({"multi_grid": (1, 2, 4)}, "needs resnet50, resnet101 or is_cascaded"),
        ({"version": "v1", "has_multi_scale_features": True}, "v1 with vgg16"),
        ({"input_scales": (0.5, 1.0)}, "input_scales are for v2"),
        ({"version": "v2", "input_scales": (0.5, 0.75)}, "expected 1 among them"),
        ({"version": "voc", "backbone": "resnet50"}, "published with mobilenet_v2"),
        ({"version": "v1", "atrous_rates": (6, 12)}, "v1 has one rate"),
        ({"output_stride": 4}, "output_stride"),
        ({"backbone": "resnet34"}, "resnet18"),
    ],
)
def test_impossible_networks_are_refused(options: dict[str, Any], said: str) -> None:
    """With what was asked and what is possible."""
    with pytest.raises(ValidationError, match=said):
        ModelConfig.model_validate(options)


def test_widths_of_mobilenet_scale_its_channels() -> None:
    """Half the width: channels rounded to multiples of 8, as the published narrow networks have them."""
    with torch.device("meta"):
        seen = build(ModelConfig(width=0.5), 2).backbone

    assert (seen.low_channels, seen.high_channels) == (16, 160)


@pytest.mark.parametrize(
    "options",
    [
        {"normalisation": "imagenet"},
        {"version": "v1", "backbone": "vgg16", "has_multi_scale_features": True, "normalisation": "imagenet"},
        {"version": "v2", "input_scales": (0.5, 1.0)},
    ],
)
def test_a_served_network_takes_bgr_bytes_and_gives_the_same_logits(options: dict[str, Any]) -> None:
    """Every place where the image enters has its channels flipped, and each normalisation meets its channel."""
    model = _small(**options)
    images_bgr = torch.randint(0, 256, (1, 32, 64, 3), dtype=torch.uint8)

    with torch.no_grad():
        expected = model(model.normalise(images_bgr))
        logits = ServedGraph(model, None, 64, 32).eval()(images_bgr)[0]

    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
