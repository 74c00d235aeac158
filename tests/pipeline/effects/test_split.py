"""Before and after side by side."""

import numpy as np
import pytest

from pipeline.effects import effect_from_text
from pipeline.effects.split import Split
from tests.pipeline.effects.scenes import person_scene


@pytest.mark.parametrize("after", ["blur", "cutout:black", "overlay"])
def test_left_is_before_and_right_is_after(after: str) -> None:
    """Left of the line each pixel is the captured one, right of it each is the other effect's."""
    scene = person_scene(640, 96)

    painted = scene.painted(Split(after=after))

    np.testing.assert_array_equal(painted[:, :319], scene.image_bgr[:, :319])
    np.testing.assert_array_equal(painted[:, 321:], scene.painted(effect_from_text(after))[:, 321:])


def test_a_white_line_stands_between() -> None:
    """Two pixels of 640, in the middle."""
    scene = person_scene(640, 96)

    painted = scene.painted(Split())

    is_white = (painted == 255).all(axis=(0, 2))
    assert np.flatnonzero(is_white).tolist() == [319, 320]


@pytest.mark.parametrize("at", [0.001, 0.25, 0.999])
def test_the_line_can_stand_elsewhere(at: float) -> None:
    """Also at the very edge the line stays inside the frame."""
    scene = person_scene(640, 96)

    painted = scene.painted(Split(at=at))

    first = int(np.flatnonzero((painted == 255).all(axis=(0, 2)))[0])
    assert abs(first - 640 * at) <= 2


def test_strength_is_that_of_the_right_side() -> None:
    """A split at 1.5 shows its effect at 1.5."""
    scene = person_scene(640, 96)

    painted = scene.painted(Split(after="blur:8").with_strength(1.5))

    np.testing.assert_array_equal(painted[:, 321:], scene.painted(effect_from_text("blur:12"))[:, 321:])
