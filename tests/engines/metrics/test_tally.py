"""Scores against cases counted by hand."""

import math

import numpy as np
import pytest

from engines.metrics import METRICS, Tally

CLASSES = ("background", "person")


def _map(*rows: str) -> np.ndarray:
    return np.array([[255 if mark == "x" else int(mark) for mark in row] for row in rows], np.uint8)


def test_iou_and_accuracy_of_a_case_counted_by_hand() -> None:
    """Two of four person pixels found and one too many: IoU 2/5, background 3/6, five of eight right."""
    tally = Tally(CLASSES)

    tally.add(_map("1100", "1000"), _map("0110", "1001"))
    scores = tally.scores()

    # Predicted 3, true 4, both 2 -> union 5; background: predicted 5, true 4, both 3 -> union 6.
    assert scores.iou == pytest.approx({"background": 3 / 6, "person": 2 / 5})
    assert scores.miou == pytest.approx((0.5 + 0.4) / 2)
    assert scores.pixel_accuracy == pytest.approx(5 / 8)


def test_scores_are_pooled_over_pixels_not_averaged_over_images() -> None:
    """A large image weighs more than a small one."""
    tally = Tally(CLASSES)

    tally.add(np.ones((10, 10), np.uint8), np.ones((10, 10), np.uint8))
    tally.add(_map("0"), _map("1"))

    assert tally.scores().iou["person"] == pytest.approx(100 / 101)
    assert tally.scores().n_images == 2


def test_ignored_pixels_count_nowhere() -> None:
    """What is labelled 255 may be predicted as anything."""
    tally = Tally(CLASSES)

    tally.add(_map("1110"), _map("1xx0"))

    assert tally.scores().iou == {"background": 1.0, "person": 1.0}
    assert tally.confusion.sum() == 2


def test_a_class_that_never_occurs_has_no_score() -> None:
    """It is nan and left out of the mean, not 0 and not 1."""
    tally = Tally(("background", "person", "dog"))

    tally.add(_map("01"), _map("01"))
    scores = tally.scores()

    assert math.isnan(scores.iou["dog"])
    assert math.isnan(scores.boundary_f["dog"])
    assert scores.miou == 1.0


@pytest.mark.parametrize(("shift_px", "expected"), [(0, 1.0), (2, 1.0), (4, None)])
def test_boundary_f_forgives_two_pixels(shift_px: int, expected: float | None) -> None:
    """A square moved by two pixels is still right at its boundary; by four it is not."""
    truth = np.zeros((40, 40), np.uint8)
    truth[10:30, 10:30] = 1
    tally = Tally(CLASSES)

    tally.add(np.roll(truth, shift_px, axis=1), truth)
    f = tally.scores().boundary_f["person"]

    if expected is None:
        assert 0.3 < f < 0.75  # top and bottom still match, left and right do not
    else:
        assert f == pytest.approx(expected)


def test_a_class_that_is_never_found_has_boundary_f_zero() -> None:
    """Missing it wholly is wrong everywhere, not undefined."""
    truth = np.zeros((20, 20), np.uint8)
    truth[5:15, 5:15] = 1
    tally = Tally(CLASSES)

    tally.add(np.zeros_like(truth), truth)

    assert tally.scores().boundary_f["person"] == 0.0


def test_label_maps_of_different_sizes_are_refused() -> None:
    """Scoring them would need a guess about how they lie on each other."""
    with pytest.raises(ValueError, match="differ in size"):
        Tally(CLASSES).add(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8))


def _random(seed: int, n_classes: int = 3, ignored: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_classes, (17, 23), dtype=np.uint8)
    predicted = np.where(rng.random(truth.shape) < 0.7, truth, rng.integers(0, n_classes, truth.shape)).astype(np.uint8)
    truth[rng.random(truth.shape) < ignored] = 255
    return predicted, truth


def test_scores_equal_those_counted_pixel_by_pixel() -> None:
    """Against loops over pixels that nobody would run on a data set."""
    tally = Tally(("a", "b", "c"))
    confusion = np.zeros((3, 3))
    for seed in range(4):
        predicted, truth = _random(seed)
        tally.add(predicted, truth)
        for said, true in zip(predicted.ravel(), truth.ravel(), strict=True):
            if true != 255:
                confusion[true, said] += 1

    scores = tally.scores()

    np.testing.assert_array_equal(scores.confusion, confusion)
    for index, name in enumerate("abc"):
        union = confusion[index].sum() + confusion[:, index].sum() - confusion[index, index]
        assert scores.iou[name] == pytest.approx(confusion[index, index] / union)
        falsely = confusion[:, index].sum() - confusion[index, index]
        assert scores.false_share[name] == pytest.approx(falsely / confusion.sum())
    assert scores.pixel_accuracy == pytest.approx(np.trace(confusion) / confusion.sum())


def test_perfect_predictions_score_one_everywhere() -> None:
    """Every measure knows what perfect is, and the intervals have no width."""
    truth = np.zeros((40, 40), np.uint8)
    truth[10:30, 10:30] = 1
    tally = Tally(CLASSES, METRICS)

    for _ in range(3):
        tally.add(truth, truth, np.stack([1.0 - truth, truth]).astype(np.float32) * 200)
    scores = tally.scores()

    assert scores.miou == scores.pixel_accuracy == 1.0
    assert scores.boundary_f_at == {1: 1.0, 2: 1.0, 3: 1.0, 5: 1.0}
    assert scores.trimap_miou == {1: 1.0, 2: 1.0, 4: 1.0, 8: 1.0}
    assert scores.calibration_error == pytest.approx(0.0, abs=1e-6)
    assert scores.false_share == {"background": 0.0, "person": 0.0}
    assert scores.intervals["miou"] == scores.intervals["iou/person"] == scores.intervals["boundary_f"] == (1.0, 1.0)


def test_intervals_hold_the_score_and_are_the_same_each_time() -> None:
    """Seeded draws over images: the pooled score lies inside."""
    tally = Tally(("a", "b", "c"), ("boundary", "intervals"))
    for seed in range(12):
        tally.add(*_random(seed))

    first, again = tally.scores(), tally.scores()

    assert first.intervals == again.intervals
    for name, score in {"miou": first.miou, "iou/b": first.iou["b"], "boundary_f": first.mean_boundary_f}.items():
        low, high = first.intervals[name]
        assert low <= score <= high
        assert low < high


def test_what_is_not_asked_for_is_not_there() -> None:
    """An empty field, not a zero that looks like a score."""
    tally = Tally(CLASSES, ())

    tally.add(_map("01"), _map("01"))
    scores = tally.scores()

    assert math.isnan(scores.mean_boundary_f)
    assert math.isnan(scores.calibration_error)
    assert scores.boundary_f_at == scores.trimap_miou == scores.intervals == {}


def test_a_class_called_where_it_never_is_shows_as_a_share_of_all_pixels() -> None:
    """What a clip without people tells: three of eight pixels are called person."""
    tally = Tally(CLASSES)

    tally.add(_map("0111", "0000"), _map("0000", "0000"))

    assert tally.scores().false_share["person"] == pytest.approx(3 / 8)


def test_the_miou_of_one_picture_leaves_out_what_does_not_occur_in_it() -> None:
    """So a picture is not among the worst because a class is missing; a wholly ignored one has no score."""
    tally = Tally(("background", "person", "dog"))

    assert tally.count(_map("0011"), _map("0001")).miou == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert math.isnan(tally.count(_map("0011"), _map("xxxx")).miou)
