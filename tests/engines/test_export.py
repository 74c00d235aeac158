"""Graphs keep the contract of the stream and give what their network gives."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from engines import export
from engines.errors import EngineMismatch, ExportError, InputSizeError
from engines.export import Meaning, ServedGraph, export_graph
from engines.models.deeplab import DeepLab, ModelConfig, build
from engines.names import read_manifest, resolve
from engines.publish import engine_from_checkpoint, record_scores
from engines.training.checkpoint import Checkpoint

SMALL = ModelConfig(aspp_channels=8, low_channels=4, atrous_rates=(2, 4))
TWO = Meaning(("background", "person"), ((0, 0, 0), (9, 8, 7)), "person")
THREE = Meaning(("sky", "road", "tree"), ((0, 0, 0), (9, 8, 7), (1, 2, 3)), "road")
SCENE = Meaning(("sky", "road", "tree"), ((0, 0, 0), (9, 8, 7), (1, 2, 3)), None)
WIDTH, HEIGHT = 96, 64


def _network(n_classes: int) -> DeepLab:
    """A network without training whose logits still differ from pixel to pixel: settled statistics, spread logits."""
    torch.set_num_threads(2)
    torch.manual_seed(0)
    model = build(SMALL, n_classes)
    images = torch.from_numpy(_noise()).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        for norm in (module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)):
            norm.momentum = 1.0
        model.train()
        model(torch.cat([images, images.flip(3)]))
        logits = model.eval()(images)
        mean, spread = logits.mean(dim=(0, 2, 3)), 2 * logits.std(dim=(0, 2, 3))
        model.get_parameter("classifier.bias").sub_(mean).div_(spread)
        model.get_parameter("classifier.weight").div_(spread.reshape(-1, 1, 1, 1))
    return model


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One graph of each kind; exporting takes seconds, so once for the module."""
    folder = tmp_path_factory.mktemp("graphs")
    paths = {}
    for name, meaning in (("two", TWO), ("three", THREE), ("scene", SCENE)):
        paths[name] = folder / f"{name}.onnx"
        export_graph(_network(len(meaning.classes)), meaning, WIDTH, HEIGHT, paths[name], [])
    return paths


def _noise() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (1, HEIGHT, WIDTH, 3), dtype=np.uint8)


def _run(path: Path) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image_bgr": _noise()}), strict=True))


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("two", ["logits", "alpha", "labels"]),
        ("three", ["logits", "alpha", "labels"]),
        ("scene", ["logits", "labels"]),
    ],
)
def test_a_graph_keeps_the_contract(exported: dict[str, Path], name: str, outputs: list[str]) -> None:
    """uint8 in through a Cast, uint8 out through the last Cast, half-pixel resizes, opset 18, one file."""
    graph = onnx.load(exported[name])
    nodes = graph.graph.node
    made_by = {output: node.op_type for node in nodes for output in node.output}

    assert [value.name for value in graph.graph.output] == outputs
    assert [node.op_type for node in nodes if "image_bgr" in node.input] == ["Cast"]
    assert all(made_by[output] == "Cast" for output in outputs if output != "logits")
    modes = {
        attribute.s
        for node in nodes
        if node.op_type == "Resize"
        for attribute in node.attribute
        if attribute.name == "coordinate_transformation_mode"
    }
    assert modes == {b"half_pixel"}
    assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", 18)]
    assert sorted(path.name for path in exported[name].parent.iterdir()) == ["scene.onnx", "three.onnx", "two.onnx"]


def test_a_graph_says_what_its_numbers_mean(exported: dict[str, Path]) -> None:
    """Classes, palette, subject, resize rule and normalisation are in the file itself."""
    stored = {entry.key: entry.value for entry in onnx.load(exported["three"]).metadata_props}

    assert json.loads(stored["classes"]) == list(THREE.classes)
    assert json.loads(stored["palette"]) == [list(colour) for colour in THREE.palette]
    assert (stored["subject"], stored["resize"]) == ("road", "letterbox")
    assert "127.5" in stored["normalisation"]


def test_alpha_of_two_classes_is_the_sigmoid_of_the_enlarged_margin(exported: dict[str, Path]) -> None:
    """And labels are where it is above a half."""
    planes = _run(exported["two"])
    logits = torch.from_numpy(planes["logits"])
    margin = torch.nn.functional.interpolate(logits[:, 1:] - logits[:, :1], scale_factor=4.0, mode="bilinear")[:, 0]

    expected = (margin.sigmoid() * 255).round().numpy()

    assert planes["alpha"].shape == (1, HEIGHT, WIDTH)
    # One level: rounding half up against half to even, and sums in another order.
    assert np.abs(planes["alpha"].astype(int) - expected).max() <= 1
    np.testing.assert_array_equal(
        planes["labels"][np.abs(margin.numpy()) > 1e-4], (margin > 0).numpy()[np.abs(margin.numpy()) > 1e-4]
    )
    assert 0 < planes["labels"].mean() < 1


def test_alpha_of_many_classes_is_the_softmax_of_the_subject(exported: dict[str, Path]) -> None:
    """At the centres of the stride-4 cells it is the network's own probability."""
    planes = _run(exported["three"])
    probs = torch.from_numpy(planes["logits"]).softmax(dim=1)[0, 1].numpy()
    alpha = planes["alpha"][0].astype(np.float32) / 255

    # Enlarging bilinearly and averaging the middle four pixels of a cell blurs a little: the bound is loose, but a
    # wrong class or a plain difference of two logits is far off.
    cells = alpha.reshape(HEIGHT // 4, 4, WIDTH // 4, 4)[:, 1:3, :, 1:3].mean(axis=(1, 3))
    assert np.abs(cells - probs).mean() < 0.08
    assert np.corrcoef(cells.ravel(), probs.ravel())[0, 1] > 0.9


def test_the_graph_takes_bgr(exported: dict[str, Path]) -> None:
    """The network was given RGB; the same picture in BGR gives the same logits."""
    image_bgr = torch.from_numpy(_noise())
    rgb = image_bgr.flip(-1).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        expected = _network(2)(rgb).numpy()

    assert np.abs(_run(exported["two"])["logits"] - expected).max() < 1e-3


def test_exporting_leaves_the_network_as_it_was() -> None:
    """The copy inside the graph has its first weights turned round; the original must not."""
    model = _network(2)
    before = model.get_parameter("backbone.features.0.0.weight").clone()

    ServedGraph(model, 1, WIDTH, HEIGHT)

    assert torch.equal(model.get_parameter("backbone.features.0.0.weight"), before)


def test_a_size_that_does_not_fit_is_refused_with_two_that_do(tmp_path: Path) -> None:
    """850 is no multiple of 32; 832 and 864 are."""
    with pytest.raises(InputSizeError, match="width 850 is not a multiple of 32; export at 832 or 864"):
        export_graph(_network(2), TWO, 850, 64, tmp_path / "a.onnx", [])


def test_a_graph_that_differs_from_its_network_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old file stays, and no partial one."""
    path = tmp_path / "a.onnx"
    path.write_bytes(b"old")
    monkeypatch.setattr(export, "parity", lambda *_: (0.5, 0.9))

    with pytest.raises(ExportError, match=r"logits differ by 5\.00e-01"):
        export_graph(_network(2), TWO, WIDTH, HEIGHT, path, [])

    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.onnx"]


def test_a_checkpoint_becomes_an_engine_that_opens_by_its_manifest(tmp_path: Path) -> None:
    """Name, size, hash, P1 scores and the default graph arrive; recorded P2 scores go to one graph."""
    checkpoint = Checkpoint(
        "small", SMALL, TWO, _network(2).state_dict(), scores={"P1/x/miou": 0.5}, trained_on=("a set",)
    )

    path = engine_from_checkpoint(checkpoint, [(WIDTH, HEIGHT), (64, 96)], tmp_path, licences=["CC0"])
    spec = resolve(f"{path}@64x96")
    record_scores(spec, {"P2/x/miou": 0.25})

    manifest = read_manifest(path)
    assert resolve(str(path)).input.width == WIDTH
    assert [graph.scores for graph in manifest.graphs] == [{}, {"P2/x/miou": 0.25}]
    assert (manifest.scores, manifest.trained_on, manifest.licences) == ({"P1/x/miou": 0.5}, ("a set",), ("CC0",))
    manifest.model_copy()
    (tmp_path / "small-64x96-fp32.onnx").write_bytes(b"other")
    with pytest.raises(EngineMismatch):
        resolve(f"{path}@64x96")
