"""`tune-crf` from the command line, with a CRF that needs no compiler."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import engines.crf
from engines.__main__ import main
from engines.evaluation import crf_tuning
from engines.names import read_manifest
from tests.engines.runtime.graphs import write_engine

N_PICTURES = 8


class Narrower:
    """Stands for `StreamCrf`: the subject is what is bluer than the threshold of the truth."""

    def __init__(self, *_: object) -> None: ...

    def refine(self, logits: NDArray[np.float32], tensor_bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        del logits
        is_one = (tensor_bgr[..., 0] > 180).astype(np.float32)
        return np.stack([1 - is_one, is_one])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Pictures with a pale rim around the subject, which the engine takes for a part of it."""
    for kind in ("images", "masks"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    for index in range(N_PICTURES):
        image, labels = np.zeros((32, 64, 3), np.uint8), np.zeros((32, 64), np.uint8)
        left = 8 + 4 * index
        image[:, left - 4 : left + 20, 0] = 160
        image[:, left : left + 16, 0], labels[:, left : left + 16] = 220, 1
        cv2.imwrite(str(tmp_path / "data" / "images" / f"{index}.png"), image)
        cv2.imwrite(str(tmp_path / "data" / "masks" / f"{index}.png"), labels)
    return tmp_path / "data"


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(crf_tuning, "StreamCrf", Narrower)
    monkeypatch.setattr(engines.crf, "unavailable_reason", lambda method: None)
    monkeypatch.setattr(sys, "argv", ["engines", "tune-crf", *map(str, arguments)])
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_the_table_is_told_and_the_best_is_noted(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """None and both presets are in it with their settings; the manifest has parameters, method and gain."""
    engine, trials = write_engine(tmp_path / "tiny"), tmp_path / "trials.json"

    assert _run(monkeypatch, engine, "--data", data, "--method", "exact", "--json", trials) == 0

    told = capsys.readouterr().out
    manifest = read_manifest(engine)
    assert "no CRF" in told
    assert "exact w1 4 sigma 67/3 w2 3/1, 5 iterations" in told
    assert "exact w1 10 sigma 80/13 w2 3/3, 5 iterations" in told
    assert f"noted in {engine}" in told
    assert manifest.crf != "none"
    assert manifest.crf.method == "exact"
    assert manifest.crf_gain is not None
    assert (manifest.crf_gain.images, manifest.crf_gain.data) == (N_PICTURES // 2, "data")
    assert json.loads(trials.read_text())["crf"] == manifest.crf.model_dump()


def test_a_dry_run_leaves_the_manifest_alone(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says what would have been noted."""
    engine = write_engine(tmp_path / "tiny")
    before = engine.read_text()

    assert _run(monkeypatch, engine, "--data", data, "--dry-run") == 0

    assert "would note fast w1" in capsys.readouterr().out
    assert engine.read_text() == before


def test_without_the_compiler_it_says_what_to_install(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before any picture is read."""
    engine = write_engine(tmp_path / "tiny")
    monkeypatch.setattr(sys, "argv", ["engines", "tune-crf", str(engine), "--data", str(data)])
    monkeypatch.setattr(engines.crf, "unavailable_reason", lambda method: "numba is not installed; pip install it")

    with pytest.raises(SystemExit):
        main()

    assert "numba is not installed; pip install it" in capsys.readouterr().err
