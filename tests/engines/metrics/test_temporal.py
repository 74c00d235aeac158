"""Steadiness of moving and still pictures whose flow is known."""

import math

import cv2
import numpy as np
import pytest

from engines.metrics.temporal import TemporalTally, follows


def _ground(seed: int = 0, height: int = 96, width: int = 128) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rough = cv2.GaussianBlur(rng.integers(0, 255, (height, width, 3), dtype=np.uint8), (0, 0), 3)
    return cv2.normalize(rough, None, 0, 255, cv2.NORM_MINMAX)


def _square(left: int) -> np.ndarray:
    labels = np.zeros((96, 128), np.uint8)
    labels[30:70, left : left + 40] = 1
    return labels


def test_labels_that_move_with_the_picture_are_steady() -> None:
    """The whole picture moves by three pixels a frame and the labels with it: flow explains it."""
    wide = _ground(width=160)
    tally = TemporalTally(2)

    for step in range(3):
        labels = _square(40 - 3 * step)
        tally.add(f"pan_{step:03d}", wide[:, 3 * step : 128 + 3 * step].copy(), labels, labels)
    found = tally.steadiness()

    assert found.n_pairs == 2
    assert found.warped_miou > 0.97
    assert found.true_warped_miou == found.warped_miou


def test_labels_that_stay_while_the_picture_moves_are_not() -> None:
    """A prediction that sticks to the screen loses what it does not follow."""
    wide = _ground(width=160)
    tally = TemporalTally(2)

    for step in range(3):
        image = wide[:, 8 * step : 128 + 8 * step].copy()
        tally.add(f"pan_{step:03d}", image, _square(40), _square(40 - 8 * step))
    found = tally.steadiness()

    assert found.warped_miou < found.true_warped_miou - 0.1


def test_flicker_on_a_still_picture_is_counted_pixel_by_pixel() -> None:
    """Nothing moves, 40 x 10 of 96 x 128 pixels change their label in one of two steps."""
    image = _ground()
    tally = TemporalTally(2)

    for step, left in enumerate((40, 40, 50)):
        tally.add(f"still_{step}", image, _square(left), _square(40))
    found = tally.steadiness()

    assert found.flip_share == pytest.approx(2 * 40 * 10 / (2 * 96 * 128))
    assert found.true_flip_share == 0.0
    assert found.true_warped_miou == 1.0


def test_what_changes_in_the_picture_is_no_flip() -> None:
    """Where something appears, the label may appear too."""
    before, after = _ground(), _ground()
    after[30:70, 40:80] = 255 - after[30:70, 40:80]
    tally = TemporalTally(2)

    tally.add("light_1", before, np.zeros((96, 128), np.uint8), np.zeros((96, 128), np.uint8))
    tally.add("light_2", after, _square(40), _square(40))

    # Inside, only where light and dark cross 128 does the grey stay the same.
    assert tally.flips[0, 0] < 0.1 * 40 * 40


def test_ignored_labels_count_nowhere() -> None:
    """A clip without labels: its own steadiness is known, that of the true labels is not."""
    image, unknown = _ground(), np.full((96, 128), 255, np.uint8)
    tally = TemporalTally(2)

    tally.add("clip_0", image, _square(40), unknown)
    tally.add("clip_1", image, _square(40), unknown)
    found = tally.steadiness()

    assert found.warped_miou == 1.0
    assert math.isnan(found.true_warped_miou)
    assert math.isnan(found.true_flip_share)


def test_another_shot_or_size_starts_anew() -> None:
    """Frames of two videos are no pair, and neither are frames of two sizes."""
    tally = TemporalTally(2)

    tally.add("walk_1", _ground(), _square(40), _square(40))
    tally.add("talk_2", _ground(1), _square(40), _square(40))
    tally.add("talk_3", _ground(1)[:90], _square(40)[:90], _square(40)[:90])

    assert tally.steadiness().n_pairs == 0
    assert math.isnan(tally.steadiness().flip_share)


@pytest.mark.parametrize(
    ("before", "name", "expected"),
    [
        ("00007", "00008", True),
        ("drive_07959", "drive_07961", True),
        ("drive_0030", "drive_0060", False),
        ("a_7", "b_8", False),
        ("frankfurt_000000_000294", "frankfurt_000000_000295", True),
        ("a_8", "a_7", False),
        ("portrait", "street", False),
    ],
)
def test_names_tell_which_frames_are_neighbours(before: str, name: str, expected: bool) -> None:
    """The same words and a number that hardly grows."""
    assert follows(before, name) is expected
