"""Graphs keep the contract of the stream and give what their network gives."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from engines.errors import EngineMismatch, EngineNotFound, ExportError, InputSizeError
from engines.export import graph as export
from engines.export.derive import Samples
from engines.export.graph import ServedGraph, export_graph
from engines.export.publish import Wanted, engine_from_checkpoint
from engines.manifest import CrfSetting, Difference, Graph
from engines.models.deeplab import DeepLab
from engines.names import read_manifest, resolve
from engines.record import record_scores, write_manifest
from engines.runtime import open_engine
from engines.size import Size
from engines.spec import Meaning
from engines.training.checkpoint import Checkpoint
from tests.engines.networks import SMALL, noise, settled

TWO = Meaning(("background", "person"), ((0, 0, 0), (9, 8, 7)), "person")
THREE = Meaning(("sky", "road", "tree"), ((0, 0, 0), (9, 8, 7), (1, 2, 3)), "road")
SCENE = Meaning(("sky", "road", "tree"), ((0, 0, 0), (9, 8, 7), (1, 2, 3)), None)
WIDTH, HEIGHT = 96, 64


def _network(n_classes: int) -> DeepLab:
    return settled(SMALL, n_classes, HEIGHT, WIDTH)


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
    return noise(1, HEIGHT, WIDTH)


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
    """uint8 in through a Cast, uint8 out through the last Cast, resizes that all runtimes know, opset 18, one file."""
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
    # Feature maps are enlarged from where their samples lie, what is served from the middles of squares of pixels.
    assert b"align_corners" in modes
    assert modes <= {b"align_corners", b"half_pixel"}
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
    monkeypatch.setattr(
        export, "difference_of", lambda *_, **__: Difference(logits=0.5, labels=0.9, images=1, on="pictures")
    )

    with pytest.raises(ExportError, match=r"logits differ by 5\.00e-01"):
        export_graph(_network(2), TWO, WIDTH, HEIGHT, path, [])

    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.onnx"]


def test_a_checkpoint_becomes_an_engine_that_opens_by_its_manifest(tmp_path: Path) -> None:
    """Name, size, hash, P1 scores and the default graph arrive; recorded P2 scores go to one graph."""
    checkpoint = Checkpoint(
        "small", SMALL, TWO, _network(2).state_dict(), scores={"P1/x/miou": 0.5}, trained_on=("a set",)
    )

    path, written = engine_from_checkpoint(
        checkpoint, Wanted([Size(WIDTH, HEIGHT), Size(64, 96)]), tmp_path, [noise(1)[0]], licences=["CC0"]
    )
    spec = resolve(f"{path}@64x96")
    record_scores(spec, {"P2/x/miou": 0.25})

    manifest = read_manifest(path)
    assert resolve(str(path)).input.width == WIDTH
    assert [graph.scores for graph in manifest.graphs] == [{}, {"P2/x/miou": 0.25}]
    assert (manifest.scores, manifest.trained_on, manifest.licences) == ({"P1/x/miou": 0.5}, ("a set",), ("CC0",))
    assert [(graph.difference.images, graph.difference.on) for graph in written if graph.difference] == [
        (1, "pictures"),
        (2, "noise"),  # no picture of that size was given
    ]
    (tmp_path / "small-64x96-fp32.onnx").write_bytes(b"other")
    with pytest.raises(EngineMismatch):
        resolve(f"{path}@64x96")


def test_exporting_again_adds_to_the_manifest_of_the_same_weights_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another size of the same checkpoint joins the list; another checkpoint of that name replaces it."""

    def written(_model: object, _meaning: object, width: int, height: int, path: Path, *_: object) -> object:
        path.write_bytes(b"graph")
        return Graph(file=path.name, width=width, height=height, sha256="0"), Samples([], [], is_noise=True)

    monkeypatch.setattr(export, "export_graph", written)  # what is in the graphs does not matter here
    network = _network(2)
    checkpoint = Checkpoint("small", SMALL, TWO, network.state_dict())
    bias = checkpoint.weights["classifier.bias"]
    other = Checkpoint("small", SMALL, TWO, {**checkpoint.weights, "classifier.bias": bias + 1})

    path, _ = engine_from_checkpoint(checkpoint, Wanted([Size(64, 32)]), tmp_path)
    write_manifest(read_manifest(path).model_copy(update={"crf": CrfSetting(w1=7)}), path)  # as `tune-crf` does
    engine_from_checkpoint(checkpoint, Wanted([Size(32, 32)]), tmp_path)
    both = read_manifest(path)
    engine_from_checkpoint(other, Wanted([Size(32, 32)]), tmp_path)

    assert [graph.file for graph in both.graphs] == ["small-64x32-fp32.onnx", "small-32x32-fp32.onnx"]
    assert both.default_graph == "small-64x32-fp32.onnx"
    assert (both.crf, read_manifest(path).crf) == (CrfSetting(w1=7), "none")
    assert [graph.file for graph in read_manifest(path).graphs] == ["small-32x32-fp32.onnx"]


def test_a_graph_may_take_several_pictures_a_call(tmp_path: Path) -> None:
    """A batch of three gives each picture what it gets alone; a name never leads to it, its path does."""
    network = _network(2)
    checkpoint = Checkpoint("small", SMALL, TWO, network.state_dict())
    path, written = engine_from_checkpoint(checkpoint, Wanted([Size(WIDTH, HEIGHT)], batch=3), tmp_path)
    pictures = noise(3)

    spec = resolve(tmp_path / written[0].file)
    planes = {name: np.zeros(spec.output_shape(name), spec.output_dtype(name)) for name in spec.output.names}
    with open_engine(spec, backend="onnxruntime") as engine:
        engine.infer({"image_bgr": pictures}, planes)

    with torch.inference_mode():
        alone = torch.cat([network(network.normalise(torch.from_numpy(picture[None]))) for picture in pictures])
    assert (spec.label, engine.max_batch) == ("small 96x64 fp32 x3", 3)
    # The bound of an export: an untrained network makes the most of sums in another order.
    np.testing.assert_allclose(planes["logits"], alone.numpy(), rtol=0, atol=export.MAX_LOGIT_DIFFERENCE)
    with pytest.raises(EngineNotFound, match="96x64 fp32 x3"):
        resolve(str(path))


def test_a_graph_may_take_any_number_of_pictures(tmp_path: Path) -> None:
    """Exported so from a checkpoint, it is the only one of its name, and a call takes one picture or two."""
    network = _network(2)
    checkpoint = Checkpoint("small", SMALL, TWO, network.state_dict())
    path, _ = engine_from_checkpoint(checkpoint, Wanted([Size(WIDTH, HEIGHT)], any_batch=True), tmp_path)
    pictures = noise(2)

    spec = resolve(str(path))
    answers = []
    with open_engine(spec, backend="onnxruntime", max_batch=2) as engine:
        for batch_bgr in (pictures, pictures[1:]):
            n = len(batch_bgr)
            planes = {name: np.zeros(spec.output_shape(name, n), spec.output_dtype(name)) for name in spec.output.names}
            engine.infer({"image_bgr": batch_bgr}, planes)
            answers.append(planes["logits"])

    assert (spec.label, spec.path.name) == ("small 96x64 fp32 xN", "small-96x64-xN-fp32.onnx")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["small-96x64-xN-fp32.onnx", "small.json"]
    np.testing.assert_allclose(answers[0][1:], answers[1], rtol=0, atol=export.MAX_LOGIT_DIFFERENCE)
