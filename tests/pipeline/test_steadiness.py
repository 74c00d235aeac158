"""How steady masks are, seen while a stream runs."""

import numpy as np
import pytest

from engines.names import resolve
from pipeline.matte.steadiness import PERIOD_NS, LiveSteadiness
from pipeline.timing import Ledger

FRAME_NS = 40_000_000
SPEC = resolve("person@256x256")
SIDE = 256


@pytest.fixture
def scene() -> tuple[np.ndarray, np.ndarray]:
    """A textured picture of engine size and the mask of a square in it."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (32, 32, 3)).astype(np.uint8)
    alpha = np.zeros((SIDE, SIDE), np.uint8)
    alpha[64:192, 64:192] = 255
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8)), alpha


def watch() -> LiveSteadiness:
    """Of a square stream: no bars."""
    return LiveSteadiness(SIDE, SIDE, SPEC)


def test_a_mask_that_holds_still_flips_nothing(scene) -> None:
    """The same frame twice: no flips, and the whole mask is where it was."""
    tensor, alpha = scene
    steady = watch()

    assert steady.look(0, 0, tensor, alpha, None) is None
    pair = steady.look(1, FRAME_NS, tensor, alpha, None)

    assert (pair.still, pair.flipped) == (SIDE * SIDE, 0)
    assert pair.common == pair.united == 128 * 128


def test_a_mask_that_jumps_in_a_still_picture_is_counted(scene) -> None:
    """A band of 8 columns goes from subject to background."""
    tensor, alpha = scene
    steady = watch()
    smaller = alpha.copy()
    smaller[:, 64:72] = 0

    steady.look(0, 0, tensor, alpha, None)
    pair = steady.look(1, FRAME_NS, tensor, smaller, None)

    assert pair.flipped == 8 * 128
    assert pair.common / pair.united == pytest.approx(1 - 8 / 128)


def test_a_mask_that_moves_with_the_picture_is_steady(scene) -> None:
    """Both go two pixels to the right: where motion says that the mask should be, it is."""
    tensor, alpha = scene
    steady = watch()

    steady.look(0, 0, tensor, alpha, None)
    pair = steady.look(1, FRAME_NS, np.roll(tensor, 2, axis=1), np.roll(alpha, 2, axis=1), None)

    assert pair.common / pair.united > 0.97


def test_pairs_are_looked_at_now_and_then(scene) -> None:
    """Two neighbours every half second of the stream's own time; the frames between cost nothing."""
    tensor, alpha = scene
    steady = watch()

    found = [steady.look(n, n * FRAME_NS, tensor, alpha, None) is not None for n in range(50)]

    assert sum(found) == 50 * FRAME_NS // PERIOD_NS
    assert found[1]


def test_frames_far_apart_are_no_pair(scene) -> None:
    """After a gap the first frame is one to compare with, not to compare."""
    tensor, alpha = scene
    steady = watch()

    steady.look(0, 0, tensor, alpha, None)

    assert steady.look(9, 9 * FRAME_NS, tensor, 255 - alpha, None) is None
    assert steady.look(10, 10 * FRAME_NS, tensor, 255 - alpha, None).flipped == 0


def test_a_source_that_was_reopened_has_no_past(scene) -> None:
    """The first frame after the gap is not compared with the last one before it."""
    tensor, alpha = scene
    steady = watch()
    steady.look(0, 0, tensor, alpha, None)

    steady.forget()
    steady.look(1, FRAME_NS, tensor, 255 - alpha, None)
    pair = steady.look(2, PERIOD_NS + 2 * FRAME_NS, tensor, 255 - alpha, None)

    assert pair is None or pair.flipped == 0


def test_time_that_goes_back_starts_anew(scene) -> None:
    """A file that is looped begins at zero again, and is looked at again."""
    tensor, alpha = scene
    steady = watch()
    for n in range(40):
        steady.look(n, n * FRAME_NS, tensor, alpha, None)

    found = [steady.look(40 + n, n * FRAME_NS, tensor, alpha, None) is not None for n in range(20)]

    assert any(found)


def test_labels_of_many_classes_are_compared_without_the_first(scene) -> None:
    """Of a label map every class but the first counts as subject."""
    tensor, alpha = scene
    labels = (alpha > 0).astype(np.uint8) * 7
    other = labels.copy()
    other[64:128] = np.where(other[64:128] == 7, 3, 0)
    steady = watch()

    steady.look(0, 0, tensor, None, labels)
    pair = steady.look(1, FRAME_NS, tensor, None, other)

    assert pair.united == 128 * 128
    assert pair.common == 64 * 128


def test_the_ledger_pools_pairs() -> None:
    """Shares are of all that was counted; without any they are not told."""
    ledger = Ledger.create(("capture",))
    try:
        assert ledger.steadiness() == {"pairs": 0, "flip_share": None, "warped_iou": None}

        ledger.count_pair(still=100, flipped=1, common=9, united=10)
        ledger.count_pair(still=300, flipped=3, common=1, united=10)

        assert ledger.steadiness() == {"pairs": 2, "flip_share": 0.01, "warped_iou": 0.5}
        assert ledger.numbers()["mask_steadiness"]["pairs"] == 2
    finally:
        ledger.close()
