"""What is too far apart, and how it is told."""

import numpy as np
import pytest

from engines.metrics import Tally
from pipeline.parity.diagnosis import Diagnosis
from pipeline.parity.measure import Measured, Row
from pipeline.parity.verdict import gaps, problems, table

CLASSES = ("background", "person")
N_PIXELS = 100_000


def _row(name: str, n_wrong: int, *, is_streamed: bool = True) -> Row:
    """Half of the pixels are of each class, and so many of the persons are missed."""
    truth = np.zeros((1, N_PIXELS), np.uint8)
    truth[:, N_PIXELS // 2 :] = 1
    found = truth.copy()
    found[:, N_PIXELS // 2 : N_PIXELS // 2 + n_wrong] = 0
    row = Row(name, name, Tally(CLASSES, ()), Tally(CLASSES, ()) if name != "checkpoint" else None)
    for tally in filter(None, (row.p2, row.shown)):
        tally.add(found, truth)
    if is_streamed:
        row.n_tensors = row.n_equal = 5
    return row


def _measured(**n_wrong: int) -> Measured:
    """Rows by name, with so many pixels wrong in each."""
    rows = {name: _row(name, n, is_streamed=name in ("lossless", "h264")) for name, n in n_wrong.items()}
    return Measured("tiny 96x64 fp32", 5, rows)


def test_every_pair_of_the_three_is_compared_and_no_other() -> None:
    """H.264 is told, not judged; a checkpoint shows nothing, so it has one rule only."""
    found = {(gap.one, gap.other, gap.rule) for gap in gaps(_measured(checkpoint=0, onnx=0, lossless=0, h264=900))}

    assert found == {
        ("checkpoint", "onnx", "P2"),
        ("checkpoint", "lossless", "P2"),
        ("onnx", "lossless", "P2"),
        ("onnx", "lossless", "shown"),
    }


@pytest.mark.parametrize(("n_wrong", "n_problems"), [(20, 0), (30, 2)])
def test_the_limit_is_a_twentieth_of_a_point(n_wrong: int, n_problems: int) -> None:
    """A wrong pixel counts in both classes: 20 of 100000 cost 0.04 points, 30 cost 0.06, and the pair is named."""
    found = problems(_measured(onnx=0, lossless=n_wrong))

    assert len(found) == n_problems
    assert all(problem.where == "onnx / lossless" for problem in found)


def test_equal_tensors_leave_the_backend() -> None:
    """When what went in was right bit by bit, the engine's own arithmetic is what differs."""
    found = problems(_measured(onnx=0, lossless=500))

    assert found[0].fault == "backend"
    assert "try another --backend" in found[0].told


def test_one_wrong_tensor_is_enough() -> None:
    """The scores are equal to the last digit, and parity still does not hold."""
    measured = _measured(onnx=0, lossless=0)
    lossless = measured.rows["lossless"]
    lossless.n_equal = 4
    lossless.diagnosis = Diagnosis("half-pixel", "the picture lies beside its place", 0.9)

    found = problems(measured)

    assert [problem.fault for problem in found] == ["half-pixel"]
    assert "1 of 5 tensors" in found[0].told
    assert "parity does not hold" in table(measured)


def test_a_fault_of_the_coded_way_is_told_beside_its_loss() -> None:
    """The lossless clip is BGR, so a wrong matrix or range shows in the H.264 row alone."""
    measured = _measured(onnx=0, lossless=0, h264=0)
    measured.rows["h264"].diagnosis = Diagnosis("colour-matrix", "BT.601 and BT.709 are confused", 0.8)

    assert [problem.where for problem in problems(measured)] == ["onnx / h264"]


def test_a_set_in_which_nothing_occurs_is_no_difference() -> None:
    """All of the truth is ignored: neither side has a mIoU."""
    measured = _measured(onnx=0, lossless=0)
    for row in measured.rows.values():
        row.p2, row.shown = Tally(CLASSES, ()), Tally(CLASSES, ())

    assert not problems(measured)
