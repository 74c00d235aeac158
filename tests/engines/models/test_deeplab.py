"""The shipped shape of network, its strides, and what happens to pixels before it."""

import pytest
import torch

from engines.models.backbones import MobileNetV2
from engines.models.deeplab import ModelConfig, build, normalise
from engines.models.normalisation import NORMALISATIONS, NormalisationName

pytestmark = pytest.mark.torch

SMALL = ModelConfig(aspp_channels=8, low_channels=4)


@pytest.fixture(autouse=True)
def _two_threads() -> None:
    torch.set_num_threads(2)


@pytest.mark.parametrize("name", ["v3plus", "voc"])
def test_logits_come_at_a_quarter_of_the_size(name: str) -> None:
    """Both networks give (n, C, H/4, W/4), for sides that are multiples of 32."""
    model = build(ModelConfig.model_validate({**SMALL.model_dump(), "version": name}), n_classes=5).eval()

    with torch.inference_mode():
        logits = model(torch.zeros(1, 3, 64, 96))

    assert logits.shape == (1, 5, 16, 24)


@pytest.mark.parametrize(("stride", "side"), [(8, 8), (16, 4), (32, 2)])
def test_the_output_stride_decides_the_size_of_the_last_feature_map(stride: int, side: int) -> None:
    """64 pixels become 64 / stride; the low-level map is always at stride 4."""
    with torch.inference_mode():
        low, high = MobileNetV2(stride).eval()(torch.zeros(1, 3, 64, 64))

    assert low.shape == (1, 24, 16, 16)
    assert high.shape == (1, 320, side, side)


def test_a_removed_stride_becomes_dilation() -> None:
    """At output stride 16 the block that lost its stride keeps dilation 1, the later ones have 2."""
    features = MobileNetV2(16).features

    dilations = [features.get_submodule(f"{block}.conv.1.0").dilation for block in (13, 14, 15, 16, 17)]

    assert dilations == [(1, 1), (1, 1), (2, 2), (2, 2), (2, 2)]


def test_the_shipped_shape_has_the_stated_size() -> None:
    """2.15 M parameters with two classes: what the model card says."""
    n_parameters = sum(p.numel() for p in build(ModelConfig(), 2).parameters())

    assert n_parameters == pytest.approx(2.15e6, rel=0.01)


def test_normalisation_turns_bgr_bytes_into_rgb_from_minus_one_to_one() -> None:
    """Blue 255 ends as the third channel at 1; 0 is -1."""
    image_bgr = torch.zeros(1, 1, 1, 3, dtype=torch.uint8)
    image_bgr[..., 0] = 255

    assert normalise(image_bgr).flatten().tolist() == [-1.0, -1.0, 1.0]


def test_imagenet_normalisation_is_torchvisions() -> None:
    """(x / 255 - mean) / deviation for each of R, G, B; the pixel given is BGR."""
    image_bgr = torch.tensor([10, 100, 200], dtype=torch.uint8).reshape(1, 1, 1, 3)
    model = build(ModelConfig(aspp_channels=8, low_channels=4, normalisation="imagenet"), 2)

    planes = model.normalise(image_bgr).flatten().tolist()

    expected = [(200 / 255 - 0.485) / 0.229, (100 / 255 - 0.456) / 0.224, (10 / 255 - 0.406) / 0.225]
    assert planes == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("normalisation", ["unit", "imagenet"])
def test_planes_in_either_order_are_normalised_alike(normalisation: NormalisationName) -> None:
    """What an exported graph does to BGR planes is what training does to RGB planes."""
    planes_rgb = torch.rand(1, 3, 4, 4) * 255
    rule = NORMALISATIONS[normalisation]

    of_rgb = rule.of_planes(planes_rgb)
    of_bgr = rule.of_planes(planes_rgb.flip(1), is_bgr=True)

    torch.testing.assert_close(of_bgr.flip(1), of_rgb)
