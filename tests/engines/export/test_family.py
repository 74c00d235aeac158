"""Every version and backbone becomes graphs of every precision, near the network within what each may cost."""

from pathlib import Path

import cv2
import pytest

from engines.export.derive import CalibrationSet
from engines.export.open_batch import open_batch
from engines.export.publish import Wanted, engine_from_checkpoint
from engines.models.deeplab import ModelConfig
from engines.size import Size
from engines.spec import Meaning
from engines.training.checkpoint import Checkpoint
from tests.engines.networks import noise, settled

pytestmark = pytest.mark.torch

THREE = Meaning(("sky", "road", "tree"), ((0, 0, 0), (9, 8, 7), (1, 2, 3)), "road")
WIDTH, HEIGHT = 96, 64


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(version="v1"),
        ModelConfig(version="v1", backbone="vgg16", has_multi_scale_features=True, normalisation="imagenet"),
        ModelConfig(version="v2", input_scales=(0.5, 1.0)),
        ModelConfig(version="v3", backbone="resnet18", aspp_channels=8, is_cascaded=True),
        ModelConfig(version="v3plus", backbone="mobilenet_v3_small", aspp_channels=8),
        ModelConfig(version="v3plus", backbone="xception65", aspp_channels=8),
        ModelConfig(version="voc"),
    ],
    ids=lambda config: f"{config.version}-{config.backbone}",
)
def test_every_network_of_the_family_exports_in_every_precision(config: ModelConfig, tmp_path: Path) -> None:
    """fp32 is checked against the network; the others open, follow the contract, and stay near."""
    for index, picture in enumerate(noise(2)):
        cv2.imwrite(str(tmp_path / f"{index}.png"), picture)
    checkpoint = Checkpoint("any", config, THREE, settled(config, 3).state_dict())
    wanted = Wanted([Size(WIDTH, HEIGHT)], ("fp32", "fp16", "bf16", "int8"), calibration=CalibrationSet(tmp_path))

    _, written = engine_from_checkpoint(checkpoint, wanted, tmp_path / "engine", list(noise(2)))

    labels = {graph.precision: graph.difference.labels for graph in written if graph.difference}
    # Noise through an untrained network is the hardest picture, most pixels lie near the border of two classes: below
    # fp16 the share says nothing, and what counts is that the graph was made, opened and run.
    assert labels["fp32"] >= 0.999  # a pixel in a thousand may be a tie
    assert labels["fp16"] > 0.9
    assert labels.keys() == {"fp32", "fp16", "bf16", "int8"}
    opened = open_batch(tmp_path / "engine" / written[0].file, written[0], tmp_path / "open.onnx", list(noise(2)))
    assert opened.any_batch, "open_batch compares two pictures a call with one"
