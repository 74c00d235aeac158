"""An ablation: rows of one ground config, outcomes as files, tables of whatever is there."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch  # noqa: F401  # marks the module
import yaml

from configs import ConfigError, load
from engines.bench.ablation import jobs
from engines.bench.ablation.jobs import Job, jobs_to_do, side_by_side
from engines.bench.ablation.outcome import Outcome, Score, outcomes_in
from engines.bench.ablation.page import tables
from engines.bench.ablation.plan import Ablation, config_of
from engines.bench.ablation.run import train_and_score
from engines.data.known import CAMVID
from engines.errors import EngineError

ROOT = Path(__file__).resolve().parents[3]
READY = ROOT / "configs" / "ablation" / "camvid.yaml"


def score(miou: float, *, has_crf: bool = False, has_scales: bool = False) -> Score:
    """One way of scoring, at stride 16."""
    return Score(
        output_stride=16, has_crf=has_crf, has_scales=has_scales, miou=miou, boundary_f=miou / 2, iou={"Sky": miou},
        ms_per_image=5.0,
    )  # fmt: skip


def outcome(row: str, seed: int, *scores: Score) -> Outcome:
    """A training that never was."""
    return Outcome(
        ablation="camvid", row=row, seed=seed, profile="cpu", model="m", policy="poly", epochs=30, steps=918,
        crop_px=192, size="256x192", minutes=12.0, final_loss=0.5, machine="here", scores=scores or (score(0.5),),
    )  # fmt: skip


@pytest.fixture
def small_plan(tmp_path) -> Ablation:
    """Two rows over six tiny pictures that lie as CamVid's do."""
    rng = np.random.default_rng(0)
    for split, n in (("train", 6), ("val", 2)):
        for folder in ("images", "labels"):
            (tmp_path / "camvid" / split / folder).mkdir(parents=True)
        for index in range(n):
            labels = np.repeat(rng.integers(0, 12, (3, 4), dtype=np.uint8), 16, 0).repeat(16, 1)
            image = np.stack([labels * 20] * 3, axis=2)
            cv2.imwrite(str(tmp_path / "camvid" / split / "images" / f"{index}.png"), image)
            cv2.imwrite(str(tmp_path / "camvid" / split / "labels" / f"{index}.png"), labels)
    ground = {
        "name": "tiny", "classes": list(CAMVID.names), "palette": [list(c) for c in CAMVID.palette],
        "precision": "fp32", "threads": 1,
        "model": {"width": 0.25, "aspp_channels": 8, "low_channels": 4, "is_separable": False},
        "sources": [{"path": str(tmp_path / "camvid"), "format": "camvid", "split": "train"}],
        "validation": {"path": str(tmp_path / "camvid"), "format": "camvid", "split": "val", "size": "64x32"},
        "augment": {"crop_px": 32, "closeup_share": 0.0}, "schedule": {"batch": 3, "warm_up": 30},
    }  # fmt: skip
    (tmp_path / "ground.yaml").write_text(yaml.safe_dump(ground))
    profile = {"size": "64x32"}
    return Ablation.model_validate({
        "name": "camvid", "ground": tmp_path / "ground.yaml", "epochs": 1, "seeds": [0], "scales": [1.0],
        "crf_iterations": 1, "cpu": profile, "gpu": profile,
        "rows": [
            {"name": "v1", "title": "v1", "overrides": ["model.version=v1"], "policy": "step"},
            {"name": "v3plus", "title": "v3+"},
        ],
    })  # fmt: skip


@pytest.mark.parametrize("name", [row.name for row in load(Ablation, READY).rows])
def test_every_row_of_the_ready_ablation_is_a_possible_training(name: str, monkeypatch) -> None:
    """The ground config takes each row's overrides; only policy and network differ between rows."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("engines.bench.ablation.plan.open_dataset", lambda source, n_classes: range(367))
    plan = load(Ablation, READY)

    config = config_of(plan, plan.row(name), 2, plan.cpu)

    assert config.seed == 2
    assert config.schedule.steps == 918
    assert config.schedule.step_every == 306
    assert config.model.backbone == "mobilenet_v2"
    assert config.validation == ()
    assert config.augment == config_of(plan, plan.rows[0], 2, plan.cpu).augment


def test_an_unknown_row_lists_the_known_ones() -> None:
    """A typing error costs nothing."""
    with pytest.raises(ConfigError, match="no row 'v4'; rows: v1-largefov"):
        load(Ablation, READY).row("v4")


def test_what_has_an_outcome_is_not_trained_again(tmp_path) -> None:
    """Seed by seed, so that every row is there once before any is there twice."""
    plan = load(Ablation, READY)
    outcome("v3", 0).write(tmp_path)

    todo, done = jobs_to_do(plan, ["v3", "v3plus"], [0, 1], "cpu", tmp_path)

    assert todo == [Job("v3plus", 0), Job("v3", 1), Job("v3plus", 1)]
    assert done == [Job("v3", 0)]
    assert jobs_to_do(plan, ["v3"], [0], "gpu", tmp_path)[0] == [Job("v3", 0)]


def test_the_tables_are_made_of_what_is_there() -> None:
    """Means and spreads over seeds, differences within a seed, and the names of what is missing."""
    plan = load(Ablation, READY)
    outcomes = [
        outcome("v1-largefov", 0, score(0.50), score(0.52, has_crf=True)),
        outcome("v1-largefov", 1, score(0.54), score(0.55, has_crf=True)),
        outcome("v1-largefov-step", 0, score(0.49)),
    ]

    parts = tables(plan, outcomes, [0, 1])

    assert "52.0 ± 2.0" in parts["scores"]
    assert "+1.5 ± 0.5" in parts["effects"]
    assert "v1, LargeFOV: poly for step" in parts["effects"]
    assert "`cpu` v1-largefov-step: seed 1" in parts["missing"]
    assert "`cpu` v3: seeds 0, 1" in parts["missing"]


def test_the_page_says_that_nothing_is_trained_yet() -> None:
    """An empty folder makes a page, not an error."""
    parts = tables(load(Ablation, READY), [], [0])

    assert parts["scores"] == "No row is trained yet."


def test_a_file_that_is_no_outcome_is_named(tmp_path) -> None:
    """Nothing is skipped in silence."""
    (tmp_path / "v3-0.json").write_text("{}")

    with pytest.raises(EngineError, match=r"v3-0\.json: not an outcome"):
        outcomes_in(tmp_path)


@pytest.mark.slow
@pytest.mark.crf
def test_a_row_is_trained_scored_in_every_way_and_read_again(small_plan, tmp_path) -> None:
    """From nothing to a file: with and without CRF, with and without flips; a second call trains no step more."""
    said: list[str] = []

    def once(row: str) -> Outcome:
        out = tmp_path / "runs" / row
        return train_and_score(small_plan, small_plan.row(row), 0, "cpu", out, limit=1, say=said.append)

    first, again = once("v3plus"), once("v3plus")
    first.write(tmp_path / "results")

    assert first.steps == 2
    assert {(s.has_crf, s.has_scales) for s in first.scores} == {(a, b) for a in (False, True) for b in (False, True)}
    assert again.scores[0].miou == first.scores[0].miou
    assert outcomes_in(tmp_path / "results") == [first]
    assert any("mIoU" in line for line in said)


def test_jobs_run_side_by_side_and_failures_are_named_at_the_end(tmp_path, monkeypatch) -> None:
    """A training that dies takes no other with it; its words are in its log."""
    monkeypatch.setattr(jobs, "POLL_S", 0.02)
    code = {Job("good", 0): "print('fine')", Job("bad", 0): "raise SystemExit('no space')"}
    monkeypatch.setattr(jobs, "PROGRAM", (sys.executable, "-c"))

    with pytest.raises(EngineError, match="1 of 2 trainings failed: bad-0"):
        side_by_side(list(code), 2, lambda job: [code[job]], tmp_path, lambda line: None)

    assert (tmp_path / "good-0.log").read_text() == "fine\n"
    assert "no space" in (tmp_path / "bad-0.log").read_text()
