"""The published VOC network's context inside an ASPP: the same numbers, until a training moves them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from engines.models.deeplab import ModelConfig, build
from engines.models.weights import load_backbone_weights

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("rates", [(), (6, 12)])
def test_an_aspp_of_256_channels_starts_as_the_published_context(tmp_path: Path, rates: tuple[int, ...]) -> None:
    """What the 21 classes were read from is there unchanged; atrous branches are not heard yet."""
    torch.manual_seed(0)
    published = build(ModelConfig(version="voc"), 21).eval()
    path = tmp_path / "voc.npz"
    names = {name: name.removeprefix("backbone.") for name in published.state_dict()}
    np.savez(path, **{names[name]: value.numpy() for name, value in published.state_dict().items()})
    model = build(ModelConfig(aspp_channels=256, decoder_channels=8, atrous_rates=rates, dropout=0), 2)

    said = load_backbone_weights(model, str(path))

    image_rgb = torch.rand(1, 3, 64, 96) * 2 - 1
    with torch.no_grad():
        low, high = model.eval().backbone(image_rgb)
        logits = published.get_submodule("logits")(model.get_submodule("aspp")(high))
        wanted = published(image_rgb)
    brought = torch.nn.functional.interpolate(logits, size=low.shape[2:], mode="bilinear", align_corners=False)
    torch.testing.assert_close(brought, wanted, atol=1e-4, rtol=0)  # sums in another order
    assert "as published for Pascal VOC" in said


def test_an_aspp_of_other_channels_takes_the_backbone_alone(tmp_path: Path) -> None:
    """128 channels cannot hold 256; nothing of the context is loaded, and nothing is claimed."""
    published = build(ModelConfig(version="voc"), 21)
    path = tmp_path / "voc.npz"
    tensors = published.state_dict()
    np.savez(path, **{name.removeprefix("backbone."): value.numpy() for name, value in tensors.items()})
    model = build(ModelConfig(aspp_channels=8), 2)
    before = model.get_submodule("aspp.project")[0].weight.clone()

    said = load_backbone_weights(model, str(path))

    assert torch.equal(model.get_submodule("aspp.project")[0].weight, before)
    assert "ASPP" not in said
