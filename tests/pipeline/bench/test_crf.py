"""`bench crf`: what is compared, and on what."""

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from configs import ConfigError
from pipeline.bench import crf, guesses
from pipeline.bench.crf_goals import goal_of, missed
from pipeline.bench.crf_rows import Row

SETS = Path(__file__).parents[2] / "data" / "sets.yaml"


@pytest.mark.parametrize("guess", [guesses.of_an_object, lambda image_bgr: guesses.of_colours(image_bgr, 2)])
def test_a_guess_is_unsure_and_the_same_each_time(guess: Callable[..., NDArray[np.float32]]) -> None:
    """Probabilities that add up to one, right in the middle of both classes, and no chance in it."""
    image_bgr = np.random.default_rng(0).integers(0, 60, (96, 128, 3)).astype(np.uint8)
    image_bgr[24:72, 40:88] += 150

    probs = guess(image_bgr)

    np.testing.assert_array_equal(probs, guess(image_bgr))
    np.testing.assert_allclose(probs.sum(axis=0), 1, atol=1e-5)
    labels = probs.argmax(axis=0)
    inside, outside = labels[36:60, 52:76], labels[:, :8]
    assert abs(inside.mean() - outside.mean()) > 0.6
    assert 0.001 < probs.min() < 0.2


def test_without_the_file_of_sets_the_way_out_is_told(tmp_path: Path) -> None:
    """The bench needs a checkout: the pictures are named there."""
    with pytest.raises(ConfigError, match="run this in a checkout"):
        crf.photographs(tmp_path / "sets.yaml")


@pytest.mark.crf
@pytest.mark.timeout(600)
@pytest.mark.skipif(
    importlib.util.find_spec("numba") is None or importlib.util.find_spec("pydensecrf") is None,
    reason="needs numba and pydensecrf (pip install 'segstream[crf]')",
)
def test_every_method_has_a_row_beside_pydensecrf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Small pictures: exact has pydensecrf's labels, and every row says what it took and how far it is off."""
    monkeypatch.setattr(crf, "SIZE", (64, 48))
    monkeypatch.setattr(crf, "MANY_SIZE", (48, 48))
    monkeypatch.setattr(crf, "N_MANY", 4)

    monkeypatch.setenv("SEGSTREAM_DATA", str(tmp_path))  # no clips there

    figures, table = crf.bench_crf(SETS, rounds=1)

    rows = figures["rows"]
    assert {(row["method"], "crf-readme" in row["work"]) for row in rows} >= {("exact", True), ("fast", False)}
    assert all(row["agreement"] >= 0.999 for row in rows if row["method"] == "exact")
    assert all(row["ratio"] == pytest.approx(row["reference_ms"] / row["ms"]) for row in rows)
    assert len(table.split("\n\n")[0].splitlines()) == len(rows) + 1


def test_a_row_says_what_it_misses_of_its_goal() -> None:
    """Too slow is named with figure and bound; a row with noise has no goal."""
    work = "2 classes, 640x360, 5 iterations, crf-readme"
    row = Row(work, "exact", 50.0, 100.0, 2.0, 1.0, 1.0, 1.0, 1.0, 5e-3)

    assert missed(row) == ["ratio 2, at least 3", "largest_difference 0.005, at most 0.001"]
    assert missed(replace(row, ratio=4.0, largest_difference=1e-4)) == []
    assert goal_of(replace(row, work=f"{work}, noise 6")) is None


def test_a_fast_enough_row_of_the_wrong_method_meets_nothing() -> None:
    """Goals belong to work and method: many classes have one for every pixel and one for `fast`."""
    row = Row("21 classes of voc, 5 iterations, crf-readme", "fast", 50.0, 225.0, 4.5, 1.0, 1.0, 1.0, 1.0, 1e-3)

    assert missed(row) == ["ratio 4.5, at least 5"]
    assert missed(replace(row, method="exact")) == []
    assert goal_of(replace(row, method="reference")) is None
