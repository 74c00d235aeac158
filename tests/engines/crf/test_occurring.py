"""Which of many classes take part, from frame to frame."""

import numpy as np

from engines.crf.memory import Memory
from engines.crf.occurring import COMES_IN, STAYS, occurring


def with_means(*means: float) -> np.ndarray:
    """(C, 4, 4) probabilities of which no class wins a pixel but the last, which has the rest."""
    planes = [np.full((4, 4), mean, np.float32) for mean in (*means, 1 - sum(means))]
    return np.stack(planes)


def test_a_class_leaves_later_than_it_comes() -> None:
    """Between the two limits it stays as it was."""
    between = with_means(0.1, (COMES_IN + STAYS) / 2)

    outside = occurring(between)
    inside = occurring(between, np.array([True, True, True]))
    gone = occurring(with_means(0.1, STAYS * 0.9), inside)

    assert outside.tolist() == [True, False, True]
    assert inside.tolist() == [True, True, True]
    assert gone.tolist() == [True, False, True]


def test_two_classes_at_least_take_part() -> None:
    """A frame that shows one class alone is refined against the next likely."""
    assert occurring(with_means(1e-5, 1e-4, 1e-6)).tolist() == [False, True, False, True]


def test_a_class_that_wins_a_pixel_takes_part() -> None:
    """Its mean may be as small as it likes."""
    probs = np.zeros((3, 100, 100), np.float32)
    probs[0], probs[1] = 0.9, 0.1
    probs[:, 50, 50] = 0.2, 0.1, 0.7

    assert occurring(probs).all()


def test_another_shot_begins_without_the_classes_of_the_last() -> None:
    """What took part is forgotten with the rest of the past."""
    memory = Memory()
    memory.classes = np.array([True, True, True])

    memory.reset()

    assert memory.classes is None
