"""The demo shot: known motion, no edges in view, the same at every start."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import SourceUnavailable
from pipeline.sources import demo
from pipeline.sources.demo import PORTRAIT, PORTRAIT_PX, DemoOptions, homography
from pipeline.sources.source import Image

SIZES = [(1280, 720), (640, 480), (360, 640), (512, 512)]


def _shot(sequence: int, options: DemoOptions) -> Image:
    source = options.open()
    image_bgr = np.empty((options.height, options.width, 3), np.uint8)
    source.draw(sequence, image_bgr)
    return image_bgr


@pytest.mark.parametrize("size", SIZES)
def test_the_camera_never_sees_past_the_portrait(size: tuple[int, int]) -> None:
    """For twenty minutes, the corners of every frame lie inside the picture."""
    format = DemoOptions(width=size[0], height=size[1]).open().format
    corners = np.array([[0, size[0] - 1, 0, size[0] - 1], [0, 0, size[1] - 1, size[1] - 1], [1, 1, 1, 1]], float)
    for sequence in range(0, 36_000, 11):
        x, y, w = np.linalg.inv(homography(sequence, format)) @ corners

        assert (x / w).min() >= 0
        assert (y / w).min() >= 0
        assert (x / w).max() <= PORTRAIT_PX - 1
        assert (y / w).max() <= PORTRAIT_PX - 1


@pytest.mark.parametrize("sequence", [0, 100, 5000])
def test_the_picture_is_where_the_homography_says(sequence: int) -> None:
    """The portrait warped by `homography` is the frame: a mask of the portrait can be carried along."""
    options = DemoOptions(width=640, height=360)
    portrait = cv2.imread(str(PORTRAIT))
    assert portrait is not None
    expected = cv2.warpPerspective(
        portrait, homography(sequence, options.open().format), (640, 360), flags=cv2.INTER_CUBIC
    )

    wrong = np.abs(_shot(sequence, options).astype(int) - expected)

    # Two interpolations of one picture: a shift by half a pixel would double this.
    assert wrong.mean() < 1.0


def test_the_camera_moves_a_little_from_frame_to_frame() -> None:
    """Every frame differs from the one before, by pixels and not by leaps."""
    format = DemoOptions().open().format
    middle = np.array([256.0, 150.0, 1.0])
    places = []
    for sequence in range(300):
        x, y, w = homography(sequence, format) @ middle
        places.append((x / w, y / w))
    steps_px = np.linalg.norm(np.diff(np.array(places), axis=0), axis=1)

    assert steps_px.min() > 0
    assert steps_px.max() < 5
    assert np.ptp(np.array(places), axis=0).max() > 20


def test_two_starts_give_the_same_shot() -> None:
    """Nothing is drawn by chance, noise included."""
    options = DemoOptions(width=320, height=180, noise=3)

    assert np.array_equal(_shot(17, options), _shot(17, options))


def test_noise_is_as_strong_as_asked_and_new_in_every_frame() -> None:
    """Its spread is the option's, its mean is zero, and it does not stand still."""
    clean, noisy = DemoOptions(width=640, height=360), DemoOptions(width=640, height=360, noise=3)
    first = _shot(0, noisy).astype(int) - _shot(0, clean)
    second = _shot(1, noisy).astype(int) - _shot(1, clean)
    inside = (_shot(0, clean) > 20) & (_shot(0, clean) < 235)  # where nothing is cut off

    assert first[inside].std() == pytest.approx(3, abs=0.1)
    assert abs(first[inside].mean()) < 0.05
    assert abs(np.corrcoef(first[inside], second[inside])[0, 1]) < 0.05


def test_the_shot_ends_after_its_seconds() -> None:
    """Seconds times rate frames, then the end."""
    source = DemoOptions(width=64, height=64, rate_hz=10, seconds=0.5).open()
    n_frames = 0
    while source.grab() is not None:
        n_frames += 1

    assert n_frames == 5 == source.format.n_frames


def test_a_slot_of_another_size_is_letterboxed() -> None:
    """The shot is scaled into whatever slot it is given; bars are black."""
    grabbed = DemoOptions(width=640, height=360).open().grab()
    image_bgr = np.full((480, 640, 3), 7, np.uint8)
    assert grabbed is not None

    grabbed.copy_into(image_bgr)

    assert image_bgr[:60].max() == 0
    assert image_bgr[60:420].std() > 20


def test_a_missing_portrait_says_how_to_mend_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A broken installation is told in one line."""
    monkeypatch.setattr(demo, "PORTRAIT", tmp_path / "gone.jpg")

    with pytest.raises(SourceUnavailable, match="install segstream again"):
        DemoOptions().open()
