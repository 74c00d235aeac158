"""`evaluate` and `compare` from the command line, with an engine that needs no network."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.__main__ import main
from engines.commands.evaluate import METRIC_NAMES
from engines.commands.labelled import FORMAT_NAMES
from engines.data.datasets import FORMATS
from engines.evaluation import targets
from engines.evaluation.segmenters import P2Engine
from engines.evaluation.targets import Target
from engines.metrics import METRICS
from engines.size import Size
from tests.engines.evaluation.test_evaluate import FindsRed
from tests.engines.toy import PALETTE, picture, write_folder


@pytest.fixture
def red(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Every target is the engine that finds red; what it was opened with is noted."""
    asked: dict[str, object] = {}

    @contextmanager
    def opened(target: str, **options: object) -> Iterator[Target]:
        asked.update(options)
        yield Target(P2Engine(FindsRed()), f"red {target}", PALETTE, "P2")

    monkeypatch.setattr(targets, "opened", opened)
    monkeypatch.setattr(targets, "served_size", lambda target: Size(256, 128))
    return asked


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["engines", *map(str, arguments)])
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_everything_that_is_asked_for_is_written(
    red: dict[str, object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Table, JSON, contact sheet and predictions of one run."""
    data = write_folder(tmp_path / "data", 6)
    sheet, scores, predictions = tmp_path / "worst.png", tmp_path / "scores.json", tmp_path / "predicted"

    code = _run(
        monkeypatch, "evaluate", "red", "--data", data, "--limit", 3, "--metrics", "boundary", "intervals",
        "--contact-sheet", sheet, "--json", scores, "--save-predictions", predictions,
    )  # fmt: skip

    told = capsys.readouterr().out
    stored = json.loads(scores.read_text())
    assert code == 0
    assert "P2 red red" in told
    assert "3 pictures" in told
    assert f"{stored['miou']:.4f}" in told
    assert stored["images"] == 3
    assert stored["format"] == "folder"
    assert "trimap_miou_at_px" not in stored
    assert cv2.imread(str(sheet)) is not None
    written = sorted(path.name for path in predictions.iterdir())
    assert written == ["toy_00.png", "toy_01.png", "toy_02.png"]
    predicted = cv2.imread(str(predictions / "toy_00.png"), cv2.IMREAD_UNCHANGED)
    assert (predicted == picture(0)[1]).mean() > 0.98


def test_scales_and_mirror_and_stride_reach_the_target(
    red: dict[str, object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Given as lists, as the papers write them."""
    data = write_folder(tmp_path / "data", 1)

    _run(
        monkeypatch, "evaluate", "red", "--scales", "0.5", "1", "1.75", "--flip", "--output-stride", "8",
        "--crf", "deeplab", "--data", data,
    )  # fmt: skip

    assert red["scales"] == (0.5, 1.0, 1.75)
    assert red["flips"] is True
    assert red["output_stride"] == 8
    assert red["crf"] == "deeplab"


def test_a_clip_of_background_tells_what_is_called_a_square_falsely(
    red: dict[str, object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A video file needs no --format, is streamed, and is scored over time too."""
    _write_clip(tmp_path / "clip.avi")

    assert _run(monkeypatch, "evaluate", "red", "--data", tmp_path / "clip.avi", "--json", tmp_path / "s.json") == 0

    told = capsys.readouterr().out
    stored = json.loads((tmp_path / "s.json").read_text())
    assert "no square in the labels" in told
    assert stored["false_share"]["square"] == pytest.approx(0.25, abs=0.05)
    assert stored["temporal"]["n_pairs"] == 3


def test_an_unlabelled_clip_has_steadiness_and_no_score(
    red: dict[str, object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What it shows is not called false."""
    _write_clip(tmp_path / "clip.avi")

    _run(monkeypatch, "evaluate", "red", "--data", tmp_path / "clip.avi", "--unlabelled", "--json", tmp_path / "s.json")

    stored = json.loads((tmp_path / "s.json").read_text())
    assert stored["miou"] is None
    assert stored["temporal"]["flip_share"] is not None


def test_compare_tells_agreement_and_writes_it(
    red: dict[str, object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """An engine agrees with itself."""
    data = write_folder(tmp_path / "data", 3)

    code = _run(monkeypatch, "compare", "one", "other", "--data", data, "--json", tmp_path / "c.json")

    stored = json.loads((tmp_path / "c.json").read_text())
    assert code == 0
    assert "100.0000% of all pixels" in capsys.readouterr().out
    assert stored["label_agreement"] == 1.0
    assert stored["miou_difference_95"] == [0.0, 0.0]
    assert (stored["a"], stored["b"]) == ("one", "other")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["evaluate", "red", "--scales", "0"], 2, "factors above 0"),
        (["evaluate", "red", "--flip", "--record", "x"], 2, "--record notes what is served"),
        (["evaluate", "red", "--protocol", "P1"], 2, "P1 is the protocol of checkpoints"),
        (["compare", "red", "blue", "--protocol", "P1"], 2, "P1 is the protocol of checkpoints"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    arguments: list[str],
    code: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Before anything is opened."""
    assert _run(monkeypatch, *arguments, "--data", tmp_path) == code

    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"scales": (0.5, 1.0)}, "several scales are for checkpoints"),
        ({"output_stride": 8}, "the output stride can be changed in checkpoints only"),
    ],
)
def test_a_graph_has_one_size_and_stride(options: dict[str, object], told: str) -> None:
    """Asked for others, it says so before it is opened."""
    from engines.errors import EngineError

    with pytest.raises(EngineError, match=told), targets.opened("person", **options):
        pass


def test_the_names_for_help_are_those_of_the_library() -> None:
    """They stand twice only so that `--help` imports nothing heavy."""
    assert METRIC_NAMES == METRICS
    assert FORMAT_NAMES == FORMATS


def _write_clip(path: Path) -> None:
    image = np.full((64, 96, 3), 100, np.uint8)
    image[16:64, 32:64] = (20, 20, 220)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 64))
    for _ in range(4):
        writer.write(image)
    writer.release()
