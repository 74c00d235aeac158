"""The networks: shapes, size, torchvision's names, and weights that fit or are refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from engines.errors import CheckpointError
from engines.models.backbones import MobileNetV2
from engines.models.deeplab import ModelConfig, build, normalise
from engines.models.weights import VOC_CLASSES, load_backbone, voc_deeplab, voc_palette

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


def test_parameters_are_named_as_in_torchvision() -> None:
    """Published weights load by name: 18 blocks, the first and last as torchvision calls them."""
    names = list(MobileNetV2().state_dict())

    assert names[0] == "features.0.0.weight"
    assert "features.1.conv.0.0.weight" in names
    assert "features.17.conv.3.running_var" in names
    assert len({name.split(".")[1] for name in names}) == 18


def test_normalisation_turns_bgr_bytes_into_rgb_from_minus_one_to_one() -> None:
    """Blue 255 ends as the third channel at 1; 0 is -1."""
    image_bgr = torch.zeros(1, 1, 1, 3, dtype=torch.uint8)
    image_bgr[..., 0] = 255

    assert normalise(image_bgr).flatten().tolist() == [-1.0, -1.0, 1.0]


def test_weights_that_lack_a_tensor_are_refused(tmp_path: Path) -> None:
    """Nothing is skipped in silence, and the file is named."""
    arrays = {name: value.numpy() for name, value in MobileNetV2().state_dict().items()}
    del arrays["features.5.conv.0.0.weight"]
    np.savez(tmp_path / "lacking.npz", **arrays)

    with pytest.raises(CheckpointError, match=r"lacking\.npz.*features\.5\.conv\.0\.0\.weight"):
        load_backbone(MobileNetV2(), tmp_path / "lacking.npz")


def test_weights_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    """A text file and a missing one are no arrays."""
    (tmp_path / "text.npz").write_text("none")

    for name in ("text.npz", "missing.npz"):
        with pytest.raises(CheckpointError, match=name):
            load_backbone(MobileNetV2(), tmp_path / name)


def test_loading_takes_the_backbone_and_leaves_the_classifier(tmp_path: Path) -> None:
    """An ImageNet file has more than a backbone; every backbone tensor arrives."""
    source = MobileNetV2()
    arrays = {name: value.numpy() for name, value in source.state_dict().items()}
    arrays["features.18.0.weight"] = np.zeros((1280, 320, 1, 1), np.float32)
    arrays["classifier.1.weight"] = np.zeros((1001, 1280), np.float32)
    np.savez(tmp_path / "imagenet.npz", **arrays)
    target = MobileNetV2()

    load_backbone(target, tmp_path / "imagenet.npz")

    for name, value in target.state_dict().items():
        assert torch.equal(value, source.state_dict()[name])


def test_the_given_weights_load(shared_data: Path) -> None:
    """Both published files fill every tensor of the backbone, and the VOC one its whole network."""
    folder = shared_data / "weights"

    load_backbone(MobileNetV2(), folder / "mobilenet_v2_1.0_224_imagenet.npz")
    load_backbone(MobileNetV2(), folder / "deeplabv3_mnv2_voc.npz")
    voc_deeplab(folder / "deeplabv3_mnv2_voc.npz")


def test_the_voc_palette_is_the_known_one() -> None:
    """Person is (192, 128, 128), background black."""
    palette = voc_palette()

    assert palette[0] == (0, 0, 0)
    assert palette[VOC_CLASSES.index("person")] == (192, 128, 128)
    assert len(set(palette)) == 21
