"""The papers' recipes: valid as they are, and two steps of each on data of the same format."""

from pathlib import Path

import numpy as np
import pytest

from configs import load
from engines.data.known import CITYSCAPES_LABEL_IDS
from engines.training.config import TrainConfig
from engines.training.train import run
from tests.engines.data.test_formats import write_image, write_palette_png

TRAININGS = Path(__file__).resolve().parents[3] / "configs" / "train"

PAPERS = {
    # crop (brought to a multiple of 32), batch, steps, head's rate: the sources are named in the files
    "voc.yaml": (512, 16, 30_000, 0.007),
    "voc_v3.yaml": (512, 16, 30_000, 0.007),
    "voc_v2.yaml": (320, 10, 20_000, 2.5e-3),
    "voc_v1.yaml": (320, 20, 6_000, 1e-2),
    "cityscapes.yaml": (768, 16, 90_000, 0.007),
}

SMALL = (
    "backbone_weights=null", "threads=1", "precision=fp32", "schedule.steps=2", "schedule.batch=2",
    "augment.crop_px=64", "schedule.evaluate_every=5", "schedule.save_every=5", "model.aspp_channels=8",
)  # fmt: skip


def write_voc(root: Path) -> None:
    """Three pictures of train_aug and one of val, laid out as the devkit and SBD do."""
    rng = np.random.default_rng(0)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for split, names, folder in (("train_aug", "abc", "SegmentationClassAug"), ("val", "d", "SegmentationClass")):
        (lists / f"{split}.txt").write_text("\n".join(names) + "\n")
        for name in names:
            labels = np.repeat(rng.choice([0, 5, 15, 255], (4, 5)).astype(np.uint8), 16, 0).repeat(16, 1)
            write_palette_png(root / folder / f"{name}.png", labels)
            write_image(root / "JPEGImages" / f"{name}.jpg", np.stack([labels] * 3, axis=2))


def write_cityscapes(root: Path) -> None:
    """Two pictures of train and one of val, with labelIds."""
    rng = np.random.default_rng(0)
    for split, n in (("train", 2), ("val", 1)):
        for index in range(n):
            stem = f"bonn_{index:06d}_000019"
            ids = rng.choice([*CITYSCAPES_LABEL_IDS, 3], (4, 8)).astype(np.uint8)
            labels = np.repeat(ids, 16, 0).repeat(16, 1)
            write_image(
                root / "leftImg8bit" / split / "bonn" / f"{stem}_leftImg8bit.png", np.stack([labels] * 3, axis=2)
            )
            write_image(root / "gtFine" / split / "bonn" / f"{stem}_gtFine_labelIds.png", labels)


@pytest.mark.parametrize("path", sorted(TRAININGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_ready_training_is_valid(path: Path) -> None:
    """No key is unknown, no value impossible, and every class has its colour."""
    config = load(TrainConfig, path)

    assert len(config.classes) == len(config.palette)


@pytest.mark.parametrize("name", sorted(PAPERS))
def test_recipes_hold_the_papers_figures(name: str) -> None:
    """Crop, batch, length, rate and momentum as the papers state them; nothing but scale, crop and flip."""
    crop_px, batch, steps, head_lr = PAPERS[name]
    config = load(TrainConfig, TRAININGS / name)

    assert config.augment.crop_px == crop_px
    assert (config.schedule.batch, config.schedule.steps) == (batch, steps)
    assert (config.optimiser.kind, config.optimiser.head_lr, config.optimiser.momentum) == ("sgd", head_lr, 0.9)
    shares = {key: value for key, value in config.augment.model_dump().items() if key.endswith("_share")}
    assert {key for key, value in shares.items() if value} == {"flip_share"}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PAPERS))
def test_two_steps_of_each_recipe_run(name: str, tmp_path) -> None:
    """On generated pictures of the same format, with a lighter backbone where the paper's is heavy."""
    data = tmp_path / "data"
    (write_cityscapes if name == "cityscapes.yaml" else write_voc)(data)
    light = () if "v1" in name else ("model.backbone=resnet18", "model.multi_grid=[1, 1, 1]")
    overrides = (*SMALL, *light, f"sources.0.path={data}", "validation=null")

    outcome = run(load(TrainConfig, TRAININGS / name, overrides), tmp_path / "out")

    assert outcome.is_finished
    assert len(outcome.losses) == 2
    assert all(np.isfinite(loss) for loss in outcome.losses)
