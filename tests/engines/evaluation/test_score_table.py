"""Scores as lines for a terminal."""

import numpy as np

from engines.evaluation.compare import Compared
from engines.evaluation.evaluate import Evaluation
from engines.evaluation.score_table import comparison_lines, evaluation_lines
from engines.metrics import METRICS, Comparison, Steadiness, Tally

CLASSES = ("background", "person")


def _square(left: int) -> np.ndarray:
    labels = np.zeros((40, 60), np.uint8)
    labels[10:30, left : left + 20] = 1
    return labels


def test_the_table_has_a_line_a_class_and_one_a_measure() -> None:
    """Every figure under its name, and nothing wider than a terminal."""
    tally = Tally(CLASSES, METRICS)
    for left in (10, 20):
        tally.add(_square(left), _square(left + 2), np.stack([1.0 - _square(left), _square(left)]).astype(np.float32))
    result = Evaluation("P2", tally.scores(Steadiness(0.9, 0.01, 0.95, 0.002, 7)), 20.0)

    lines = evaluation_lines(result)

    told = "\n".join(lines)
    assert [line.split()[0] for line in lines[:4]] == ["class", "background", "person", "mean"]
    assert f"{result.scores.iou['person']:.4f}" in lines[2]
    for name in ("boundary F", "mIoU at contours", "calibration error", "mIoU with frame before", "flips", "50.0"):
        assert name in told
    assert max(map(len, lines)) < 110


def test_what_was_not_measured_has_no_line() -> None:
    """No dashes for scores that nobody asked for."""
    tally = Tally(CLASSES, ())
    tally.add(_square(10), _square(10))

    told = "\n".join(evaluation_lines(Evaluation("P1", tally.scores(), 5.0)))

    for name in ("boundary", "contours", "calibration", "95 %", "frame before"):
        assert name not in told


def test_a_clip_without_people_tells_the_share_of_false_ones() -> None:
    """The false alarm has a sentence of its own."""
    tally = Tally(CLASSES, ())
    tally.add(_square(10), np.zeros((40, 60), np.uint8))

    lines = evaluation_lines(Evaluation("P2", tally.scores(), 5.0))

    assert f"no person in the labels: {400 / 2400:.3%} of the pixels are called person falsely" in lines


def test_a_comparison_tells_agreement_and_both_scores() -> None:
    """The difference has a sign and an interval."""
    comparison = Comparison(CLASSES)
    comparison.take(comparison.count(_square(12), _square(10), _square(10)))

    lines = comparison_lines(Compared(("P1", "P2"), comparison.agreement()), ("one", "other"))

    told = "\n".join(lines)
    assert f"{1 - 80 / 2400:.4%} of all pixels" in told
    assert any(line.split()[:1] == ["person"] and "+" in line for line in lines)
    assert "95 %" in lines[-1]
