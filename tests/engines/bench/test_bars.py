"""The three bars: loader against training, training against a bare loop, evaluation against bare inference."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from engines.bench.evaluation import evaluation_rate
from engines.bench.loader import loader_rate
from engines.bench.training import BareLoop, plain, training_rate
from engines.commands.bench import bench
from engines.data.formats.folder import Folder
from engines.names import resolve
from engines.runtime import open_engine
from tests.engines.toy import train_yaml, write_folder
from tests.engines.training.small import small_config


def test_training_takes_turns_with_a_bare_loop(tmp_path) -> None:
    """As many rounds as were asked for on both sides, and the queue's gift is left out of the count."""
    comparison = training_rate(small_config(tmp_path), steps=1, rounds=2)

    assert {name: len(rates.per_s) for name, rates in comparison.rates.items()} == {"training": 2, "bare loop": 2}
    assert comparison.ratio > 0
    assert comparison.conditions["precision"] == "fp32"


def test_the_bare_loop_learns(tmp_path) -> None:
    """It is a real step of the optimiser, not half of one: the weights move."""
    loop = BareLoop(plain(small_config(tmp_path)))
    before = [parameter.clone() for parameter in loop.model.parameters()]

    n_pictures = loop.run(2)

    assert n_pictures == 2 * loop.config.schedule.batch
    moved = [not torch.equal(a, b) for a, b in zip(before, loop.model.parameters(), strict=True)]
    assert all(moved)


def test_what_a_bare_loop_cannot_have_is_left_out_of_the_real_one(tmp_path) -> None:
    """A validation set or class weights would be charged to one side only."""
    config = plain(small_config(tmp_path, "losses.class_weights=sqrt"))

    assert config.losses.class_weights == "none"
    assert config.validation == ()


def test_the_loader_is_measured_against_the_training(tmp_path) -> None:
    """Both make the same number of pictures a round."""
    comparison = loader_rate(small_config(tmp_path), steps=2, rounds=1)

    assert set(comparison.rates) == {"loader alone", "bare training"}
    assert comparison.bar == 2.0


def test_evaluation_takes_turns_with_bare_inference(tmp_path) -> None:
    """On one opened engine and the same number of pictures, as many as there are at most."""
    spec = resolve("fake@64x32")
    folder = Folder(write_folder(tmp_path, 3), len(spec.output.classes))

    with open_engine(spec, outputs=("logits",)) as engine:
        comparison = evaluation_rate(engine, folder, most_images=10, rounds=1)

    assert comparison.conditions["images"] == 3
    assert np.isfinite(comparison.ratio)


@pytest.mark.parametrize("name", ["train", "loader"])
def test_a_benchmark_is_one_command(tmp_path, name) -> None:
    """The verdict on the terminal, the figures in a file."""
    config = train_yaml(tmp_path / "toy.yaml", write_folder(tmp_path / "data", 4))
    small = ("threads=1", "model.width=0.25", "schedule.batch=2", "augment.crop_px=32")
    overrides = [word for text in small for word in ("--set", text)]
    figures = tmp_path / "figures.json"

    done = CliRunner().invoke(
        bench, [name, str(config), *overrides, "--steps", "1", "--rounds", "1", "--json", str(figures)]
    )

    assert done.exit_code == 0, done.output
    assert "bar" in done.output
    assert json.loads(figures.read_text())["of"]
