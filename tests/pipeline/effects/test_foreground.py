"""The subject's own colour at soft edges: the old background does not shine through."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.effects.composite import Compositor
from pipeline.effects.foreground import ForegroundCompositor
from tests.pipeline.effects.scenes import busy_image

HEIGHT, WIDTH = 180, 320


def _soft_disc() -> NDArray[np.uint8]:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.circle(mask, (WIDTH // 2, HEIGHT // 2), 50, 255, -1)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), 3), np.uint8)


def _composed(
    alpha: NDArray[np.uint8], front_bgr: NDArray[np.uint8], behind_bgr: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    share = alpha[..., None] / 255
    return np.rint(front_bgr * share + behind_bgr * (1 - share)).astype(np.uint8)


@pytest.mark.parametrize("old_bgr", [(255, 255, 255), (0, 0, 0), (40, 200, 40)])
def test_the_old_background_leaves_no_rim(old_bgr: tuple[int, int, int]) -> None:
    """A figure in front of a bright wall, put before a dark one: its light rim is down to a third."""
    alpha = _soft_disc()
    front = np.full((HEIGHT, WIDTH, 3), (60, 90, 150), np.uint8)
    new = np.full_like(front, (90, 40, 20))
    image = _composed(alpha, front, np.full_like(front, old_bgr))
    wanted = _composed(alpha, front, new).astype(int)
    plain, estimated = new.copy(), new.copy()
    Compositor(HEIGHT, WIDTH).over(image, alpha, plain)

    ForegroundCompositor(HEIGHT, WIDTH).over(image, alpha, estimated)

    soft = (alpha > 5) & (alpha < 250)
    assert np.abs(estimated - wanted)[soft].mean() < np.abs(plain - wanted)[soft].mean() / 3


def test_where_alpha_is_sure_pixels_are_those_of_one_side() -> None:
    """Only soft edges are estimated; fingers and letters inside the subject keep their colours bit by bit."""
    alpha, image, new = _soft_disc(), busy_image(WIDTH, HEIGHT, seed=1), busy_image(WIDTH, HEIGHT, seed=2)
    out = new.copy()

    ForegroundCompositor(HEIGHT, WIDTH).over(image, alpha, out)

    np.testing.assert_array_equal(out[alpha == 255], image[alpha == 255])
    np.testing.assert_array_equal(out[alpha == 0], new[alpha == 0])


@pytest.mark.parametrize("level", [0, 100, 255])
def test_an_alpha_without_a_contour_is_blended(level: int) -> None:
    """No sure subject or no background is anywhere near: neither black nor noise comes of it."""
    image, new = busy_image(WIDTH, HEIGHT, seed=1), busy_image(WIDTH, HEIGHT, seed=2)
    alpha = np.full((HEIGHT, WIDTH), level, np.uint8)
    out = new.copy()

    ForegroundCompositor(HEIGHT, WIDTH).over(image, alpha, out)

    blurred = cv2.GaussianBlur(image, (0, 0), 3)
    wanted = _composed(alpha, _composed(alpha, image, blurred), new)
    assert np.abs(out.astype(int) - wanted).mean() < 2
