"""Weights from files: every tensor arrives or the file is refused, and what is left out or reset is said."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from engines.errors import CheckpointError
from engines.models import published
from engines.models.backbones import MobileNetV2, ResNet
from engines.models.config import ModelConfig
from engines.models.deeplab import DeepLab, build
from engines.models.v1 import DeepLabV1
from engines.models.weights import init_from, load_backbone_weights, voc_deeplab

pytestmark = pytest.mark.torch

SMALL = ModelConfig(aspp_channels=8, low_channels=4)


def _arrays(module: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in module.state_dict().items()}


def test_weights_that_lack_a_tensor_are_refused(tmp_path: Path) -> None:
    """Nothing is skipped in silence, and the file is named."""
    arrays = _arrays(MobileNetV2())
    del arrays["features.5.conv.0.0.weight"]
    np.savez(tmp_path / "lacking.npz", **arrays)

    with pytest.raises(CheckpointError, match=r"lacking\.npz.*features\.5\.conv\.0\.0\.weight"):
        load_backbone_weights(build(SMALL, 2), str(tmp_path / "lacking.npz"))


@pytest.mark.parametrize("name", ["text.npz", "missing.npz", "text.pth", "missing.pt"])
def test_weights_that_cannot_be_read_are_refused(tmp_path: Path, name: str) -> None:
    """A text file and a missing one are no arrays."""
    if name.startswith("text"):
        (tmp_path / name).write_text("none")

    with pytest.raises(CheckpointError, match=name):
        load_backbone_weights(build(SMALL, 2), str(tmp_path / name))


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    """A list of numbers can be read and is still no state dict."""
    torch.save({"epoch": 3}, tmp_path / "numbers.pth")

    with pytest.raises(CheckpointError, match="holds no state dict"):
        load_backbone_weights(build(SMALL, 2), str(tmp_path / "numbers.pth"))


def test_loading_takes_the_backbone_and_says_what_it_leaves(tmp_path: Path) -> None:
    """An ImageNet file has more than a backbone; every backbone tensor arrives."""
    source = MobileNetV2()
    arrays = _arrays(source)
    arrays["features.18.0.weight"] = np.zeros((1280, 320, 1, 1), np.float32)
    arrays["classifier.1.weight"] = np.zeros((1001, 1280), np.float32)
    np.savez(tmp_path / "imagenet.npz", **arrays)
    target = build(SMALL, 2)

    said = load_backbone_weights(target, str(tmp_path / "imagenet.npz"))

    for name, value in target.backbone.state_dict().items():
        assert torch.equal(value, source.state_dict()[name])
    assert said.endswith("from imagenet.npz; left out: classifier.1, features.18")


@pytest.mark.parametrize("wrapped", [False, True])
def test_state_dicts_load_with_and_without_their_wrappings(tmp_path: Path, wrapped: bool) -> None:
    """torchvision's files are bare; training scripts store `state_dict` with `module.` before each name."""
    source = build(ModelConfig(backbone="resnet18", aspp_channels=8, low_channels=4), 2).backbone
    stored: dict[str, object] = dict(source.state_dict())
    stored["fc.weight"] = torch.zeros(1000, 512)
    if wrapped:
        stored = {"epoch": 1, "state_dict": {f"module.{name}": value for name, value in stored.items()}}
    torch.save(stored, tmp_path / "resnet.pth")
    target = build(ModelConfig(backbone="resnet18", aspp_channels=8, low_channels=4), 2)
    assert isinstance(target.backbone, ResNet)

    said = load_backbone_weights(target, str(tmp_path / "resnet.pth"))

    assert torch.equal(target.backbone.layer4[1].conv2.weight, source.get_parameter("layer4.1.conv2.weight"))
    assert said.endswith("left out: fc.weight")


def test_none_leaves_the_initial_weights() -> None:
    """And says so."""
    assert load_backbone_weights(build(SMALL, 2), "none") == "backbone: initial weights"


def test_the_fully_connected_layers_of_vgg_become_fc6_and_fc7(tmp_path: Path) -> None:
    """Every 512th channel of 4096 for a head with 8, rows 0, 3 and 6 of the 7x7."""
    config = ModelConfig(version="v1", backbone="vgg16", aspp_channels=8, normalisation="imagenet")
    model = build(config, 2)
    assert isinstance(model, DeepLabV1)
    stored = dict(model.backbone.state_dict())
    # Sparse on disk and in memory: only the values that are looked at differ from zero.
    fc6 = torch.zeros(1, 1).expand(4096, 512 * 49).clone()
    fc6.view(4096, 512, 7, 7)[512, 5, 3, 6] = 7.0
    fc7 = torch.zeros(4096, 4096)
    fc7[1024, 512] = 5.0
    stored |= {"classifier.0.weight": fc6, "classifier.0.bias": torch.arange(4096.0)}
    stored |= {"classifier.3.weight": fc7, "classifier.3.bias": torch.zeros(4096)}
    from engines.models.fully_connected import decimated_into

    said = decimated_into(model, stored)

    first, second = model.fc6[0], model.fc7[0]
    assert isinstance(first, torch.nn.Conv2d)
    assert isinstance(second, torch.nn.Conv2d)
    assert first.weight[1, 5, 1, 2] == 7
    assert first.bias is not None
    assert first.bias.tolist() == [512.0 * index for index in range(8)]
    assert second.weight[2, 1, 0, 0] == 5
    assert said == "fc6 and fc7 are every 512th channel of its classifier, 3x3 of 7x7"


def test_a_head_that_cannot_be_converted_says_so() -> None:
    """VGG-16 without a classifier in the file."""
    from engines.models.fully_connected import decimated_into

    with torch.device("meta"):
        model = build(ModelConfig(version="v2", backbone="vgg16", aspp_channels=8), 2)

    assert "start from noise" in decimated_into(model, {})


class TestPublished:
    """`backbone_weights: imagenet`, without the network of the world."""

    CONFIG = ModelConfig(backbone="resnet18", aspp_channels=8, low_channels=4, normalisation="imagenet")

    @pytest.fixture
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """PyTorch's cache folder, empty."""
        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
        return tmp_path / "checkpoints"

    def test_offline_the_file_and_its_place_are_named(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """One line that says which file to put where."""

        def offline(*_args: object, **_options: object) -> None:
            raise OSError("no route to host")

        monkeypatch.setattr(torch.hub, "download_url_to_file", offline)

        with pytest.raises(CheckpointError) as caught:
            load_backbone_weights(build(self.CONFIG, 2), "imagenet")

        assert "resnet18-f37072fd.pth" in str(caught.value)
        assert f"put it at {cache / 'resnet18-f37072fd.pth'}" in str(caught.value)

    def test_a_file_with_another_hash_is_refused(self, cache: Path) -> None:
        """A broken download does not become a network."""
        cache.mkdir()
        (cache / "resnet18-f37072fd.pth").write_bytes(b"half a file")

        with pytest.raises(CheckpointError, match="expected f37072fd; delete the file"):
            load_backbone_weights(build(self.CONFIG, 2), "imagenet")

    def test_a_good_file_is_fetched_once_and_loaded(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The hash in the name is checked, the backbone filled, the second time nothing is fetched."""
        source = build(self.CONFIG, 2).backbone
        made = cache.parent / "made.pth"
        torch.save(source.state_dict(), made)
        digits = hashlib.sha256(made.read_bytes()).hexdigest()[:8]
        monkeypatch.setitem(published.PUBLISHED, "resnet18", f"resnet18-{digits}.pth")
        fetched = []

        def fetch(url: str, path: str, hash_prefix: str, progress: bool) -> None:
            fetched.append((url, hash_prefix, progress))
            Path(path).write_bytes(made.read_bytes())

        monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
        model = build(self.CONFIG, 2)

        for _ in range(2):
            load_backbone_weights(model, "imagenet")

        assert fetched == [(f"https://download.pytorch.org/models/resnet18-{digits}.pth", digits, True)]
        assert torch.equal(model.backbone.state_dict()["conv1.weight"], source.state_dict()["conv1.weight"])

    @pytest.mark.parametrize(
        ("config", "said"),
        [
            (ModelConfig(backbone="resnet18"), "wants model.normalisation imagenet; the config says unit"),
            (ModelConfig(backbone="xception65", normalisation="imagenet"), "publishes none for xception65"),
            (ModelConfig(width=0.5, normalisation="imagenet"), "publishes none for mobilenet_v2 x 0.5"),
        ],
    )
    def test_a_model_it_does_not_fit_is_refused(self, config: ModelConfig, said: str) -> None:
        """Before anything is fetched."""
        with pytest.raises(CheckpointError, match=said):
            published.imagenet_file(config)


def _trained(classes: int) -> DeepLab:
    torch.manual_seed(classes)
    return build(SMALL, classes)


def test_a_new_class_list_resets_the_classifier_alone() -> None:
    """Everything else is taken over, and the sentence says which is which."""
    old, new = _trained(3), _trained(2)
    fresh = new.state_dict()["classifier.weight"].clone()

    said = init_from(new, old.state_dict(), "old.pt", ("background", "cat"), ("sky", "road", "tree"))

    assert torch.equal(new.state_dict()["classifier.weight"], fresh)
    assert torch.equal(new.state_dict()["decoder.0.0.weight"], old.state_dict()["decoder.0.0.weight"])
    assert "the classifier starts anew (2 tensors: classifier)" in said
    assert "(sky, road, tree: 3) are not (background, cat: 2)" in said


def test_other_names_for_as_many_classes_reset_it_too() -> None:
    """A cat is no person, even where the shapes fit."""
    old, new = _trained(2), build(SMALL, 2)
    fresh = new.state_dict()["classifier.weight"].clone()

    init_from(new, old.state_dict(), "old.pt", ("background", "cat"), ("background", "person"))

    assert torch.equal(new.state_dict()["classifier.weight"], fresh)


def test_the_same_classes_keep_everything() -> None:
    """Fine-tuning goes on where the other training ended."""
    old, new = _trained(2), build(SMALL, 2)

    said = init_from(new, old.state_dict(), "old.pt", ("background", "person"), ("background", "person"))

    assert all(torch.equal(value, old.state_dict()[name]) for name, value in new.state_dict().items())
    assert said == "init_from old.pt: every weight taken over"


def test_another_network_is_refused_with_the_way_out() -> None:
    """Not half-loaded: the message says how to take its backbone."""
    with torch.device("meta"):
        old = build(ModelConfig(version="v3", aspp_channels=8), 2)

    with pytest.raises(CheckpointError, match=r"old\.pt.*does not fit DeepLabv3\+.*backbone_weights"):
        init_from(build(SMALL, 2), old.state_dict(), "old.pt", ("a", "b"), ("a", "b"))


def test_the_given_weights_load(shared_data: Path) -> None:
    """Both published files fill every tensor of the backbone, and the VOC one its whole network."""
    folder = shared_data / "weights"

    load_backbone_weights(build(SMALL, 2), str(folder / "mobilenet_v2_1.0_224_imagenet.npz"))
    load_backbone_weights(build(SMALL, 2), str(folder / "deeplabv3_mnv2_voc.npz"))
    voc_deeplab(folder / "deeplabv3_mnv2_voc.npz")


def test_a_published_file_is_refused_by_a_network_that_normalises_otherwise(tmp_path: Path) -> None:
    """Named by its path as by `imagenet`: nothing would fail, the scores would only be worse."""
    model = build(ModelConfig(backbone="resnet18"), 2)

    with pytest.raises(CheckpointError, match=r"wants model\.normalisation imagenet; the config says unit"):
        load_backbone_weights(model, str(tmp_path / "resnet18-f37072fd.pth"))
