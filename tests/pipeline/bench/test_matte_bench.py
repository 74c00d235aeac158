"""What the benchmark of mattes measures: colour that bleeds, and nothing else."""

import cv2
import numpy as np
import pytest

from pipeline.bench.matte import Scene, bleed, error_in, ring_of, scenes
from pipeline.effects.gaussian import BackgroundGaussian, FastGaussian

HEIGHT, WIDTH = 180, 320


def test_a_ring_lies_outside_and_is_as_wide_as_asked_for() -> None:
    """Around a square of 20 px, ten more on each side; no pixel with any subject in it."""
    alpha = np.zeros((100, 100), np.uint8)
    alpha[40:60, 40:60] = 255
    alpha[39, 50] = 1

    ring = ring_of(alpha, 10)

    assert not ring[alpha > 0].any()
    assert ring[45, 30:40].all()
    assert not ring[45, :30].any()


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_bleed_is_the_share_of_the_subjects_colour(share: float) -> None:
    """A background into which a quarter of the subject's colour was mixed has a bleed of a quarter."""
    first = scenes(HEIGHT, WIDTH)[0]
    scene = Scene("flat", first.alpha, np.full_like(first.subject_bgr, 40), first.background_bgr)

    def mixed(image_bgr: np.ndarray) -> np.ndarray:
        is_inverted = not np.array_equal(image_bgr, scene.image_bgr)
        subject = 255 - scene.subject_bgr if is_inverted else scene.subject_bgr
        colour = subject[scene.alpha == 255].mean(axis=0)
        out = scene.background_bgr * (1 - share) + colour * share
        return np.rint(out).astype(np.uint8)

    assert bleed(scene, mixed) == pytest.approx(share, abs=0.02)


def test_a_blur_that_leaves_the_subject_out_bleeds_less() -> None:
    """At most a quarter of the plain blur's, on every scene; and the whole is nearer to the truth."""
    sigma_px = 6.0
    plain, free = FastGaussian(360, 640, sigma_px), BackgroundGaussian(360, 640, sigma_px)
    for scene in scenes(360, 640):
        out, wanted = np.empty_like(scene.image_bgr), np.empty_like(scene.image_bgr)

        def plainly(image_bgr: np.ndarray, out: np.ndarray = out) -> np.ndarray:
            plain.blur(image_bgr, out)
            return out

        def freely(image_bgr: np.ndarray, out: np.ndarray = out, alpha: np.ndarray = scene.alpha) -> np.ndarray:
            free.blur(image_bgr, alpha, out)
            return out

        plain.blur(scene.background_bgr, wanted)
        ring = ring_of(scene.alpha, 10)
        halo = error_in(ring, plainly(scene.image_bgr), wanted)
        assert bleed(scene, freely) <= bleed(scene, plainly) / 4, scene.name
        assert error_in(ring, freely(scene.image_bgr), wanted) < halo / 2, scene.name


def test_scenes_are_known_in_all_parts() -> None:
    """The picture is subject where alpha is full and background where it is nothing; an engine's alpha is its size."""
    for scene in scenes(HEIGHT, WIDTH):
        np.testing.assert_array_equal(scene.image_bgr[scene.alpha == 0], scene.background_bgr[scene.alpha == 0])
        np.testing.assert_array_equal(scene.image_bgr[scene.alpha == 255], scene.subject_bgr[scene.alpha == 255])
        assert scene.engine_alpha().shape == (288, 512)
        back = cv2.resize(scene.engine_alpha(), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        assert np.abs(back.astype(int) - scene.alpha).mean() < 12
