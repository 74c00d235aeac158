"""The blur: as good as a Gaussian at full size, and never over the subject."""

import cv2
import numpy as np
import pytest

from pipeline.effects.blur import Blur
from pipeline.effects.gaussian import BackgroundGaussian, FastGaussian
from tests.pipeline.effects.scenes import busy_image, person_scene


def _psnr_db(image: np.ndarray, reference: np.ndarray) -> float:
    error = np.mean((image.astype(np.float64) - reference) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


@pytest.mark.parametrize("sigma_px", [0.5, 2, 3, 5.5, 8, 12, 20, 40])
@pytest.mark.parametrize(("kind", "least_db"), [("shapes", 50), ("noise", 44)])
def test_it_looks_like_a_gaussian(sigma_px: float, kind: str, least_db: float) -> None:
    """Nobody could tell it from `cv2.GaussianBlur`, also on white noise.

    50 dB is a root mean square of 0.8 levels. Without the correction for halving and enlarging, the shapes
    come to 46 dB at 12 px: blurred wider than asked for.
    """
    rng = np.random.default_rng(0)
    image = busy_image(640, 360) if kind == "shapes" else rng.integers(0, 256, (360, 640, 3), np.uint8)
    out = np.empty_like(image)

    FastGaussian(360, 640, sigma_px).blur(image, out)

    assert _psnr_db(out, cv2.GaussianBlur(image, (0, 0), sigma_px)) > least_db


@pytest.mark.parametrize("sigma_px", [6, 12, 24])
def test_the_edges_of_the_frame_are_as_good_as_its_middle(sigma_px: float) -> None:
    """The small picture mirrors its border half a small pixel differently: that showed as a dark or light rim."""
    image = np.zeros((360, 640, 3), np.uint8)
    image[:, :6], image[:6], image[-6:], image[:, -6:] = 255, 255, 255, 255
    out = np.empty_like(image)

    FastGaussian(360, 640, sigma_px).blur(image, out)

    assert _psnr_db(out, cv2.GaussianBlur(image, (0, 0), sigma_px)) > 36


def test_the_subject_stays_sharp() -> None:
    """Where alpha is full, each pixel is the captured one; where it is nothing, none is."""
    scene = person_scene()

    painted = scene.painted(Blur())

    inside, outside = scene.matte.alpha == 255, scene.matte.alpha == 0
    assert inside.any()
    np.testing.assert_array_equal(painted[inside], scene.image_bgr[inside])
    assert painted[outside].std(axis=0).max() < scene.image_bgr[outside].std(axis=0).min()


def test_strength_scales_the_width() -> None:
    """Twice the strength is twice the standard deviation, up to the most there is."""
    assert Blur(sigma_px=12).with_strength(2) == Blur(sigma_px=24)
    assert Blur(sigma_px=150).with_strength(2) == Blur(sigma_px=200)


def test_a_frame_smaller_than_the_blur_works() -> None:
    """A blur much wider than the frame gives its mean colour."""
    image = busy_image(16, 12)
    out = np.empty_like(image)

    FastGaussian(12, 16, 200.0).blur(image, out)

    assert np.abs(out - image.mean(axis=(0, 1))).max() < 12


@pytest.mark.parametrize("sigma_px", [1, 4, 12, 24])
@pytest.mark.parametrize("subject_bgr", [(0, 0, 0), (255, 255, 255), (0, 0, 255)])
def test_the_subject_leaves_no_halo(sigma_px: float, subject_bgr: tuple[int, int, int]) -> None:
    """A black, white or red figure before grey: the grey behind it stays grey, up to its very edge.

    A plain blur of 12 px is 50 levels off there. What is left comes from alphas below one half.
    """
    alpha = np.zeros((360, 640), np.uint8)
    cv2.circle(alpha, (320, 180), 90, 255, -1)
    alpha = cv2.GaussianBlur(alpha, (0, 0), 1.5)
    share = alpha[..., None] / 255
    image = np.rint(128 * (1 - share) + np.array(subject_bgr) * share).astype(np.uint8)
    out = np.empty_like(image)

    BackgroundGaussian(360, 640, sigma_px).blur(image, alpha, out)

    outside = cv2.distanceTransform((alpha < 3).astype(np.uint8), cv2.DIST_L2, 5)
    assert np.abs(out[(outside > 0) & (outside <= 20)].astype(int) - 128).mean() < 3


@pytest.mark.parametrize("sigma_px", [2, 8, 12, 24])
def test_without_a_subject_it_is_the_plain_blur(sigma_px: float) -> None:
    """An empty matte changes nothing; what differs is rounding."""
    image = busy_image(640, 360)
    plain, free = np.empty_like(image), np.empty_like(image)
    FastGaussian(360, 640, sigma_px).blur(image, plain)

    BackgroundGaussian(360, 640, sigma_px).blur(image, np.zeros((360, 640), np.uint8), free)

    assert np.abs(free.astype(int) - plain).max() <= 2


@pytest.mark.parametrize("sigma_px", [2, 12])
def test_with_nothing_but_the_subject_there_is_no_black(sigma_px: float) -> None:
    """No background is within reach: what is behind the subject is then its own blur, neither black nor noise."""
    image, alpha = busy_image(640, 360), np.full((360, 640), 255, np.uint8)
    plain, free = np.empty_like(image), np.empty_like(image)
    FastGaussian(360, 640, max(sigma_px, 5.6)).blur(image, plain)

    BackgroundGaussian(360, 640, sigma_px).blur(image, alpha, free)

    assert np.abs(free.astype(int) - plain).mean() < 2
