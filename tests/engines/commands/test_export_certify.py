"""`export` from an engine, `certify` and `inspect` on the command line; graphs from a checkpoint are in test_export."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines import certify as measured
from engines.__main__ import main
from engines.names import read_manifest, resolve
from tests.engines.runtime.graphs import write_engine


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", ["engines", *map(str, arguments)])
    try:
        main()
    except SystemExit as error:
        return int(error.code or 0)
    return 0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two pictures, blue where the subject is."""
    image, labels = np.zeros((32, 64, 3), np.uint8), np.zeros((32, 64), np.uint8)
    image[:, :32, 0], labels[:, :32] = 200, 1
    for kind, picture in (("images", image), ("masks", labels)):
        (tmp_path / "data" / kind).mkdir(parents=True)
        for index in range(2):
            cv2.imwrite(str(tmp_path / "data" / kind / f"{index}.png"), picture)
    return tmp_path / "data"


def test_an_engine_gets_a_graph_in_half_precision_without_its_checkpoint(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The new graph stands in the manifest with its difference, the default stays, and a table tells it."""
    path = write_engine(tmp_path / "tiny")

    assert _run(monkeypatch, "export", path, "--precision", "fp16", "--samples", data) == 0

    told = capsys.readouterr().out
    fp32, fp16 = read_manifest(path).graphs
    assert resolve(path).precision == "fp32"
    assert resolve(f"{path}:fp16").path.name == fp16.file == "tiny-64x32-fp16.onnx"
    assert fp32.difference is None
    assert fp16.difference is not None
    assert (fp16.difference.images, fp16.difference.on) == (2, "pictures")
    assert "tiny-64x32-fp16.onnx" in told
    assert "largest logit difference" in told


def test_an_engine_gets_a_graph_for_any_batch_without_its_checkpoint(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It stands beside the others; the name goes on leading to the one for one picture, its path to this one."""
    path = write_engine(tmp_path / "tiny")

    assert _run(monkeypatch, "export", path, "--batch", "any", "--samples", data) == 0

    fixed, opened = read_manifest(path).graphs
    assert resolve(path).path.name == fixed.file
    spec = resolve(path.parent / opened.file)
    assert (spec.label, spec.any_batch, spec.batch) == ("tiny 64x32 fp32 xN", True, 1)
    assert "tiny-64x32-xN-fp32.onnx" in capsys.readouterr().out


def test_other_precisions_come_from_the_graph_for_one_picture(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An open graph beside it has the same size and batch, and is no basis; pictures are read once a size."""
    path = write_engine(tmp_path / "tiny")
    _run(monkeypatch, "export", path, "--batch", "any")

    assert _run(monkeypatch, "export", path, "--precision", "fp16", "--samples", data) == 0

    fp16 = read_manifest(path).graphs[-1]
    assert (fp16.label, fp16.file) == ("64x32 fp16", "tiny-64x32-fp16.onnx")
    assert fp16.difference is not None
    assert (fp16.difference.images, fp16.difference.on) == (2, "pictures")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--batch", "any", "--precision", "fp16"], 2, "no graph 64x32 fp16 to open (it has 64x32 fp32)"),
        (
            ["--batch", "any", "--precision", "fp32", "--precision", "fp16"],
            2,
            "no graph 64x32 fp16 to open (it has 64x32 fp32)",
        ),
        (["--batch", "any", "--out", "x"], 2, "without --out"),
        (["--batch", "none"], 2, "expected a number from 1 on, or any"),
        (["--precision", "int8"], 2, "name a folder of them with --calib DIR"),
        (["--precision", "fp32"], 2, "name --precision fp16, bf16 or int8"),
        ([], 2, "name --precision fp16, bf16 or int8"),
        (["--precision", "fp16", "--out", "x"], 2, "without --out"),
        (["--precision", "fp16", "--size", "32x32"], 2, "has no fp32 graph of 32x32 (it has 64x32)"),
        (["--precision", "int8", "--calib", "nowhere"], 1, "nowhere: no such folder"),
        (["--precision", "int8", "--calib", "DATA"], 1, "no convolution to quantise"),
    ],
)
def test_what_cannot_be_exported_is_told_in_a_line(
    tmp_path: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    told: str,
) -> None:
    """Wrong use is 2, a graph that cannot be made is 1; the engine stays as it was."""
    path = write_engine(tmp_path / "tiny")
    before = sorted(file.name for file in path.parent.iterdir())

    given = [str(data) if word == "DATA" else word for word in arguments]

    assert _run(monkeypatch, "export", path, *given) == code
    assert told in capsys.readouterr().err
    assert sorted(file.name for file in path.parent.iterdir()) == before


def test_certify_notes_what_it_measured_and_inspect_shows_it(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After that the engine's name leads to the certified graph; a later refusal takes it back."""
    path = write_engine(tmp_path / "tiny")
    _run(monkeypatch, "export", path, "--precision", "fp16", "--samples", data)
    ms = {"fp16": 2.0, "fp32": 3.0}
    shape = (measured.N_ROUNDS, measured.N_INFERENCES)
    monkeypatch.setattr(measured, "_interleaved", lambda *_: (np.full(shape, ms["fp16"]), np.full(shape, ms["fp32"])))

    assert _run(monkeypatch, "certify", f"{path}:fp16", "--data", data) == 0
    assert _run(monkeypatch, "inspect", path) == 0

    told = capsys.readouterr().out
    assert "1.50 times as fast" in told
    assert "certified on this kind of machine: mIoU" in told
    assert "(data), p50 2.0 ms, p95 2.0 ms, 1.50 times as fast as tiny-64x32-fp32.onnx" in told
    assert resolve(path).precision == "fp16"

    ms["fp16"] = 4.0
    assert _run(monkeypatch, "certify", f"{path}:fp16", "--data", data) == 1
    assert "is not certified: it takes 1.33 times as long as tiny 64x32 fp32" in capsys.readouterr().err
    assert resolve(path).precision == "fp32"


def test_certify_refuses_before_it_measures_where_nothing_could_be_noted(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A graph alone has no manifest."""
    path = write_engine(tmp_path / "tiny")
    tree = json.loads(path.read_text())
    path.unlink()

    assert _run(monkeypatch, "certify", path.parent / tree["graphs"][0]["file"], "--data", data) == 1

    assert "nowhere to note figures" in capsys.readouterr().err
