"""The workshop's command line: one line for what was foreseen, the right exit code, the files it promises."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from engines.__main__ import main
from tests.engines.toy import picture, train_yaml, write_folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data`, `runs/best.pt` of two steps, and `zoo/toy.json`."""
    torch.set_num_threads(2)
    root = tmp_path_factory.mktemp("workshop")
    config = train_yaml(root / "toy.yaml", write_folder(root / "data", 4), steps=2)
    _succeeds("train", config, "--out", root / "runs")
    _succeeds(
        "export",
        root / "runs" / "best.pt",
        "--out",
        root / "zoo",
        "--size",
        "64x64",
        "--samples",
        root / "data" / "images",
    )
    return root


def _exit_code(*arguments: object) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["engines", *map(str, arguments)])
        try:
            main()
        except SystemExit as error:
            return int(error.code or 0)
    return 0


def _succeeds(*arguments: object) -> None:
    assert _exit_code(*arguments) == 0


def test_train_and_export_leave_what_they_promise(trained: Path) -> None:
    """Two checkpoints and what tells of the training, one graph, one manifest, and nothing half-written."""
    left = {path.name for path in (trained / "runs").iterdir()}
    assert {"best.pt", "last.pt", "history.jsonl", "report.md"} <= left
    assert not [name for name in left if "partial" in name]
    assert sorted(path.name for path in (trained / "zoo").iterdir()) == ["toy-64x64-fp32.onnx", "toy.json"]


def test_checkpoint_and_engine_score_the_same_under_p2(trained: Path, tmp_path: Path) -> None:
    """One code path: the graph's scores are its network's, within what float sums differ."""
    data = ("--data", trained / "data", "--format", "folder")
    _succeeds(
        "evaluate",
        trained / "runs" / "best.pt",
        *data,
        "--protocol",
        "P2",
        "--size",
        "64x64",
        "--json",
        tmp_path / "a.json",
    )
    _succeeds(
        "evaluate", trained / "zoo" / "toy.json", *data, "--backend", "onnxruntime", "--json", tmp_path / "b.json"
    )
    checkpoint, engine = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json"))

    assert checkpoint["protocol"] == engine["protocol"] == "P2"
    assert engine["iou"] == pytest.approx(checkpoint["iou"], abs=1e-3)
    assert engine["images"] == 4


def test_recorded_scores_travel_from_checkpoint_to_manifest(trained: Path, tmp_path: Path) -> None:
    """P1 is noted in the checkpoint, P2 in the graph's entry."""
    checkpoint = tmp_path / "copy.pt"
    checkpoint.write_bytes((trained / "runs" / "best.pt").read_bytes())
    _succeeds("evaluate", checkpoint, "--data", trained / "data", "--record", "again")
    _succeeds("export", checkpoint, "--out", tmp_path, "--size", "64x64")
    _succeeds("evaluate", tmp_path / "toy.json", "--data", trained / "data", "--limit", 2, "--record", "two")

    manifest = json.loads((tmp_path / "toy.json").read_text())
    assert "P1/again/iou_square" in manifest["scores"]
    assert "P2/two/miou" in manifest["graphs"][0]["scores"]


def test_predict_writes_mask_and_overlay(trained: Path, tmp_path: Path) -> None:
    """Both at the image's own size; the mask holds class indices."""
    image, _ = picture(9, height=50, width=90)
    cv2.imwrite(str(tmp_path / "photo.png"), image)

    _succeeds("predict", trained / "zoo" / "toy.json", tmp_path / "photo.png", "--out", tmp_path / "out")

    mask = cv2.imread(str(tmp_path / "out" / "photo.mask.png"), cv2.IMREAD_UNCHANGED)
    overlay = cv2.imread(str(tmp_path / "out" / "photo.overlay.png"))
    assert mask is not None
    assert overlay is not None
    assert mask.shape == (50, 90)
    assert set(np.unique(mask)) <= {0, 1}
    # Background is left as it was, the square is tinted.
    np.testing.assert_array_equal(overlay[mask == 0], image[mask == 0])


def test_inspect_shows_graph_and_manifest(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Inputs, outputs, metadata, and the manifest's JSON."""
    _succeeds("inspect", trained / "zoo" / "toy.json")

    printed = capsys.readouterr().out
    assert "image_bgr: uint8 1 x 64 x 64 x 3" in printed
    assert "alpha: uint8 1 x 64 x 64" in printed
    assert '"default_graph": "toy-64x64-fp32.onnx"' in printed


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["train", "missing.yaml", "--out", "x"], 2, "missing.yaml: cannot be read"),
        (["evaluate", "nobody", "--data", "."], 2, "no engine called 'nobody'"),
        (["evaluate", "gone.pt", "--data", "."], 1, "gone.pt: no such checkpoint"),
        (["evaluate", "person", "--data", ".", "--protocol", "P1"], 2, "P1 is the protocol of checkpoints"),
        (["export", "--out", "x"], 2, "name a CHECKPOINT"),
        (["export", "gone.pt", "--out", "x", "--size", "big"], 2, "expected WIDTHxHEIGHT"),
        (["inspect", "nobody"], 2, "no engine called 'nobody'"),
        (["certify", "person", "--data", ".", "--format", "foldr"], 2, "'foldr' is not one of"),
        (["fly"], 2, "No such command"),
    ],
)
def test_wrong_use_is_one_line_and_an_exit_code(
    arguments: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """2 for what was asked wrongly, 1 for what could not be done; never a traceback."""
    assert _exit_code(*arguments) == code

    printed = capsys.readouterr().err
    assert told in printed
    assert "Traceback" not in printed


def test_an_unknown_key_of_a_training_names_its_neighbours(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A typo in the config is told with the key that was meant."""
    assert _exit_code("train", trained / "toy.yaml", "--out", "x", "--set", "schedule.step=3") == 2

    assert "did you mean 'steps'" in capsys.readouterr().err


def test_the_same_training_typed_twice_keeps_the_first(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --resume a second run began anew and put its own checkpoints in the place of the first's."""
    before = (trained / "runs" / "best.pt").read_bytes()

    assert _exit_code("train", trained / "toy.yaml", "--out", trained / "runs") == 2

    told = capsys.readouterr().err
    assert "holds an earlier training" in told
    assert "--resume" in told
    assert (trained / "runs" / "best.pt").read_bytes() == before


def test_a_file_that_cannot_be_written_is_one_line(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The scores' file in a folder that cannot be: a line with the path, no traceback."""
    (trained / "file").touch()

    code = _exit_code(
        "evaluate", trained / "runs" / "best.pt", "--data", trained / "data", "--metrics", "none",
        "--json", trained / "file" / "scores.json",
    )  # fmt: skip

    assert code == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {trained / 'file'}")


def test_the_module_runs_without_importing_torch() -> None:
    """`--help`, `predict` and `inspect` work in a streaming install."""
    code = "import sys, engines.__main__; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], env={**os.environ}, check=False).returncode == 0
