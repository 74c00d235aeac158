"""What a config says of the engine it is for, and what follows from it for crops and checkpoints."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from engines.__main__ import cli
from engines.export.publish import Wanted
from engines.size import Size
from engines.spec import InputSpec, ResizeRule
from engines.training.checkpoint import Checkpoint
from engines.training.steps import prepared_steps
from tests.engines.training.small import small_config

pytestmark = pytest.mark.torch

EXPORT, VALIDATION = "export={sizes: [64x64, 128x64]}", "validation={{path: {data}, size: 96x64}}"


@pytest.mark.parametrize(
    ("overrides", "stretch"),
    [
        (("resize=stretch", EXPORT), 0.5625),
        (("resize=stretch", VALIDATION), 0.84375),
        (("resize=stretch", EXPORT, VALIDATION), 0.5625),
        (("resize=stretch", EXPORT, "augment.stretch=0.75"), 0.75),
        (("resize=stretch",), None),
        ((EXPORT,), None),
    ],
)
def test_crops_are_squeezed_as_the_engine_squeezes_frames(
    tmp_path: Path, overrides: tuple[str, ...], stretch: float | None
) -> None:
    """16:9 into a square or into 3:2; unless the config gives a figure of its own, names no size, or letterboxes."""
    config = small_config(
        tmp_path, *(text.format(data=tmp_path / "data") if "{{" in text else text for text in overrides)
    )

    assert config.crops.stretch == stretch
    assert config.crops.model_copy(update={"stretch": None}) == config.augment.model_copy(update={"stretch": None})


def test_an_export_takes_the_size_that_a_checkpoint_was_trained_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was 512x288 for every checkpoint, whatever it had been trained and scored at."""
    with prepared_steps(small_config(tmp_path, EXPORT, "resize=stretch")) as steps:
        steps.state.averaged(steps.config).save(tmp_path / "best.pt")
    exported: list[tuple[InputSpec | None, Sequence[Size]]] = []

    def engine(checkpoint: Checkpoint, wanted: Wanted, out: Path, *_: object) -> tuple[Path, list[object]]:
        exported.append((checkpoint.input, wanted.sizes))
        return out / "toy.json", []

    monkeypatch.setattr("engines.export.publish.engine_from_checkpoint", engine)
    words = ["export", str(tmp_path / "best.pt"), "--out", str(tmp_path / "engine")]
    CliRunner().invoke(cli, words, catch_exceptions=False)
    CliRunner().invoke(cli, [*words, "--size", "96x32"], catch_exceptions=False)

    square = InputSpec(64, 64, ResizeRule.STRETCH)
    assert exported == [(square, (Size(64, 64),)), (square, (Size(96, 32),))]
