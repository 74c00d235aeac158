"""The README's "train your own in one command", in a shorter form: from nothing to shapes overlaid in a stream."""

import json

import cv2
import numpy as np
import pytest
import torch  # noqa: F401  # marks the module: training needs it
from click.testing import CliRunner

from configs import load
from engines.__main__ import cli
from engines.data.moving_shapes import MovingShapes, write_clip
from engines.names import read_manifest
from engines.training.config import TrainConfig
from tests.conftest import ROOT
from tests.stream.playing import pictures, play

TOY = ROOT / "configs" / "train" / "toy.yaml"
N_FRAMES = 12
# A narrower network, few steps, small batches: one core learns in a quarter of a minute where a circle is.
SHORTER = {
    "threads": 1,
    "model.width": 0.35,
    "model.aspp_channels": 32,
    "schedule.steps": 80,
    "schedule.batch": 8,
    "schedule.average_decay": 0.9,
    "schedule.evaluate_every": 80,
    "validation.0.n_pictures": 8,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder that `train` left."""
    out = tmp_path_factory.mktemp("toy")
    words = ["train", str(TOY), "--out", str(out)]
    for key, value in SHORTER.items():
        words += ["--set", f"{key}={json.dumps(value)}"]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    return out


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_one_command_leads_from_nothing_to_shapes_in_a_stream(trained, tmp_path) -> None:
    """Trained, scored, exported; a clip of moving shapes comes out of the corridor with the circle coloured."""
    manifest = read_manifest(trained / "engine" / "toy.json")
    scores = manifest.graphs[0].scores
    assert scores["P2/shapes/miou"] > 0.6
    # The training scores its network at the engine's size: the same figure, but for float32 sums in another order.
    assert scores["P2/shapes/miou"] == pytest.approx(manifest.scores["P2@160x96/shapes/miou"], abs=2e-3)
    assert (trained / "report.md").is_file()
    shapes = MovingShapes(2, 320, 180)
    write_clip(tmp_path / "clip.mp4", shapes, N_FRAMES)

    played = play(
        str(tmp_path / "clip.mp4"),
        f"frames:{tmp_path / 'shown'}",
        engine=str(trained / "engine" / "toy.json"),
        effect="overlay",
    )

    assert played.frames == {"captured": N_FRAMES, "shown": N_FRAMES, "dropped": {}}
    shown = pictures(tmp_path / "shown")
    on_circle, on_ground = [], []
    for number, picture in shown.items():
        clean, truth = shapes.frame(number)
        changed = np.abs(picture.astype(int) - clean).sum(axis=2) > 60
        inner = cv2.erode(truth, np.ones((9, 9), np.uint8)) == 1
        on_circle.append(changed[inner].mean())
        on_ground.append(changed[cv2.dilate(truth, np.ones((25, 25), np.uint8)) == 0].mean())
    assert np.mean(on_circle) > 0.5
    assert np.mean(on_ground) < 0.1


def test_the_toy_is_a_valid_config() -> None:
    """Every key is known, and what it exports can be exported."""
    config = load(TrainConfig, TOY)

    assert config.export is not None
    assert list(config.export.sizes) == [(160, 96)]
    assert config.backbone_weights is None
