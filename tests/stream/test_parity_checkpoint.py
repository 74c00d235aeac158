"""The checkpoint beside its graph and its stream."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from engines.data.datasets import DatasetOptions
from engines.errors import EngineMismatch
from engines.export.graph import export_graph
from engines.spec import Meaning
from engines.training.checkpoint import Checkpoint
from pipeline.parity.measure import measure
from pipeline.parity.verdict import LIMIT_POINTS, gaps, problems
from tests.engines.networks import SMALL, settled
from tests.pipeline.effects.scenes import busy_image

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # an export and whole streams, on a machine that may be busy

WIDTH, HEIGHT = 96, 64
MEANING = Meaning(("sky", "road", "tree"), ((0, 0, 0), (9, 8, 7), (1, 2, 3)), "road")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Folder of a data set, a checkpoint, and the graph exported from it."""
    root = tmp_path_factory.mktemp("parity")
    network = settled(SMALL, 3, HEIGHT, WIDTH)
    Checkpoint("toy", SMALL, MEANING, network.state_dict()).save(root / "toy.pt")
    export_graph(network, MEANING, WIDTH, HEIGHT, root / "toy.onnx", [])
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    for number in range(3):
        image = busy_image(110, 70, seed=number)
        cv2.imwrite(str(root / "images" / f"p{number}.png"), image)
        cv2.imwrite(str(root / "masks" / f"p{number}.png"), image.argmax(axis=2).astype(np.uint8))
    return root, root / "toy.pt", root / "toy.onnx"


def test_checkpoint_graph_and_stream_agree(exported: tuple[Path, Path, Path]) -> None:
    """Three ways to the same figure."""
    root, checkpoint, graph = exported

    measured = measure(str(graph), DatasetOptions(path=root), checkpoint=checkpoint)

    assert list(measured.rows)[:3] == ["checkpoint", "onnx", "lossless"]
    assert max(gap.points for gap in gaps(measured)) <= LIMIT_POINTS
    assert not problems(measured)


def test_a_graph_exported_in_the_wrong_channel_order_is_named(exported: tuple[Path, Path, Path]) -> None:
    """The usual mistake of an export: the network was trained on RGB and the graph is fed BGR."""
    root, checkpoint, graph = exported
    wrong = Checkpoint.load(checkpoint)
    for name in wrong.network().first_convolutions:
        wrong.weights[name] = torch.flip(wrong.weights[name], dims=(1,))
    wrong.save(root / "wrong.pt")

    measured = measure(str(graph), DatasetOptions(path=root), checkpoint=root / "wrong.pt")

    found = problems(measured)
    assert (found[0].where, found[0].fault) == ("checkpoint / onnx", "bgr-swap")
    assert measured.rows["lossless"].n_equal == 3


def test_a_checkpoint_of_other_classes_is_refused(exported: tuple[Path, Path, Path]) -> None:
    """Both class lists are told; nothing is played."""
    root, _, graph = exported
    other = Meaning(("background", "person"), MEANING.palette[:2], "person")
    Checkpoint("other", SMALL, other, settled(SMALL, 2, HEIGHT, WIDTH).state_dict()).save(root / "other.pt")

    with pytest.raises(EngineMismatch, match="background, person, toy 96x64 fp32 has sky, road, tree"):
        measure(str(graph), DatasetOptions(path=root), checkpoint=root / "other.pt")
