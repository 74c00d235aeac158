"""A checkpoint says where it comes from."""

from pathlib import Path

import numpy as np
import pytest
import torch

from configs import ConfigError
from engines.errors import CheckpointError
from engines.training.checkpoint import Checkpoint
from engines.training.classes import median_frequency
from engines.training.config import TrainConfig
from engines.training.provenance import fingerprint
from engines.training.start import fresh_network
from engines.training.train import run
from engines.training.watch import EvaluationFacts, Watcher
from tests.engines.toy import write_folder
from tests.engines.training.small import small_config


def test_a_checkpoint_carries_config_origin_and_scores(tmp_path: Path) -> None:
    """The config it holds makes the same config again; revision, data and torch are named."""
    config = small_config(tmp_path, steps=1)
    run(config, tmp_path / "out")

    stored = Checkpoint.load(tmp_path / "out" / "last.pt")

    assert TrainConfig.model_validate(stored.config) == config
    assert stored.origin["data"] == fingerprint(config.sources)
    assert stored.origin["torch"]
    assert "revision" in stored.origin


def test_the_fingerprint_notices_a_file_more_and_another_size(tmp_path: Path) -> None:
    """Names and sizes count; the share does not."""
    config = small_config(tmp_path)
    first = fingerprint(config.sources)
    again = fingerprint([source.model_copy(update={"share": 0.5}) for source in config.sources])
    write_folder(tmp_path / "data", 7)
    with_one_more = fingerprint(config.sources)
    (tmp_path / "data" / "images" / "toy_00.png").write_bytes(b"")

    assert again == first
    assert len({first, with_one_more, fingerprint(config.sources)}) == 3


def test_data_that_changed_is_told_on_resuming(tmp_path: Path) -> None:
    """The training goes on, and says that it sees other pictures."""
    heard: list[str] = []

    class Heard(Watcher):
        def warned(self, message: str) -> None:
            heard.append(message)

    run(small_config(tmp_path, steps=1), tmp_path / "out")
    write_folder(tmp_path / "data", 7)
    run(small_config(tmp_path, steps=2), tmp_path / "out", resume=True, watchers=[Heard()])

    assert any("the data has changed" in message for message in heard)


def test_several_validation_sets_decide_by_their_weights(tmp_path: Path) -> None:
    """Two sets, one only watched: the best is chosen by the other; each is noted under its name and protocol."""
    data = tmp_path / "data"
    sets = (
        f"validation=[{{path: {data}, prefix: toy_, name: served, size: 64x64, weight: 0, limit: 2}}, "
        f"{{path: {data}, prefix: toy_, limit: 3}}]"
    )
    seen: list[EvaluationFacts] = []

    class Heard(Watcher):
        def evaluated(self, facts: EvaluationFacts) -> None:
            seen.append(facts)

    run(small_config(tmp_path, sets, steps=1), tmp_path / "out", watchers=[Heard()])

    (facts,) = seen
    assert facts.miou == facts.scores["toy"].scores.miou
    assert {name: one.scores.n_images for name, one in facts.scores.items()} == {"served": 2, "toy": 3}
    assert {"P2@64x64/served/miou", "P1/toy/miou"} <= set(Checkpoint.load(tmp_path / "out" / "best.pt").scores)


def test_validation_sets_need_different_names(tmp_path: Path) -> None:
    """Two of one name would overwrite each other's scores."""
    twice = f"validation=[{{path: {tmp_path}, name: a}}, {{path: {tmp_path}, name: a}}]"

    with pytest.raises(ConfigError, match="different names"):
        small_config(tmp_path, twice)


def test_rare_classes_weigh_more() -> None:
    """Median frequency by hand: shares 3/4 and 1/4 of one picture; a class that never occurs has 1; 255 is left out."""
    labels = np.array([[0, 0, 0, 1, 255]], np.uint8)

    weights = median_frequency([labels], 3)

    assert weights.tolist() == pytest.approx([0.5 / 0.75, 0.5 / 0.25, 1])


def test_a_config_that_changed_is_told_on_resuming(tmp_path: Path) -> None:
    """A new learning rate has no effect on a resumed optimiser; nobody should believe it had."""
    heard: list[str] = []

    class Heard(Watcher):
        def warned(self, message: str) -> None:
            heard.append(message)

    run(small_config(tmp_path, steps=1), tmp_path / "out")
    changed = small_config(tmp_path, "optimiser.backbone_lr=0.5", steps=2)
    run(changed, tmp_path / "out", resume=True, watchers=[Heard()])

    (told,) = (message for message in heard if "config" in message)
    assert "optimiser.backbone_lr: 0.001 -> 0.5" in told
    assert "schedule.steps: 1 -> 2" in told


@pytest.mark.parametrize(
    "changed",
    [
        "model.normalisation=imagenet",
        "model.output_stride=8",
        "classes=[square, background]",
        "classes=[ground, thing]",
    ],
)
def test_another_network_with_weights_of_the_same_shape_is_not_resumed(tmp_path: Path, changed: str) -> None:
    """The weights would fit, and the training would go on with what they were not trained for."""
    run(small_config(tmp_path, steps=1), tmp_path / "out")
    other = small_config(tmp_path, changed, "subject=null", steps=2)

    with pytest.raises(CheckpointError, match="asks for another network"):
        run(other, tmp_path / "out", resume=True)


def test_weights_that_want_another_normalisation_are_refused(tmp_path: Path) -> None:
    """Shapes are the same and nothing would fail; the training would only be worse."""
    run(small_config(tmp_path, steps=1), tmp_path / "out")
    last = tmp_path / "out" / "last.pt"
    other = small_config(tmp_path, f"init_from={last}", "model.normalisation=imagenet")

    with pytest.raises(CheckpointError, match=r"want model\.normalisation unit, the config says imagenet"):
        fresh_network(other)


def test_a_start_may_lie_between_published_and_trained_weights(tmp_path: Path) -> None:
    """What the published file fills is mixed, layers that only the training knows are taken over whole."""
    published = tmp_path / "published.pt"
    torch.save(fresh_network(small_config(tmp_path)).backbone.state_dict(), published)
    run(small_config(tmp_path, f"backbone_weights={published}", steps=2), tmp_path / "out")
    last = tmp_path / "out" / "last.pt"
    heard: list[str] = []

    mixed = fresh_network(
        small_config(tmp_path, f"backbone_weights={published}", f"init_from={last}", "init_share=0.25"), heard.append
    ).state_dict()

    start, end = torch.load(published, weights_only=True), Checkpoint.load(last).weights
    name = "features.0.0.weight"
    assert not torch.equal(start[name], end[f"backbone.{name}"])
    expected = 0.75 * start[name] + 0.25 * end[f"backbone.{name}"]
    torch.testing.assert_close(mixed[f"backbone.{name}"], expected)
    torch.testing.assert_close(mixed["classifier.weight"], end["classifier.weight"])
    assert any("75% of the way back" in line for line in heard)


def test_half_a_start_needs_both_ends(tmp_path: Path) -> None:
    """Without published weights there is nothing to go back to."""
    with pytest.raises(ConfigError, match=r"init_share 0\.5 is a mix of two"):
        small_config(tmp_path, "init_share=0.5")
