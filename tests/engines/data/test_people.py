"""Cameras, codecs, backdrops: what they change, and what they must leave alone."""

import numpy as np
import pytest

from engines.data import IGNORE
from engines.data.pairs import Pair
from engines.data.transforms import Augment, augmented
from engines.data.transforms.camera import motion_blurred, noisy
from engines.data.transforms.codec import h264
from engines.data.transforms.geometry import Crop, cut, fill
from engines.data.transforms.people import pasted, window_without_subject

OFF = Augment(
    crop_px=96, colour=0.0, grey_share=0, blur_share=0, motion_blur_share=0, noise_share=0, low_light_share=0,
    jpeg_share=0, h264_share=0, bars_share=0, closeup_share=0, rotate_deg=0, aspect=0, scale_min=1, scale_max=1,
    paste_match=0, paste_feather_px=0,
)  # fmt: skip
"""A plain cut."""


def _subject(left: int = 40) -> Pair:
    """A white bar on dark grey, labelled 1, with a rim of 255 to its right."""
    image = np.full((96, 96, 3), 40, np.uint8)
    labels = np.zeros((96, 96), np.uint8)
    image[30:70, left : left + 20] = 240
    labels[30:70, left : left + 20] = 1
    labels[30:70, left + 20 : left + 24] = IGNORE
    return Pair("subject", image, labels)


def _backdrop(level: int = 120) -> Pair:
    return Pair("backdrop", np.full((96, 96, 3), level, np.uint8), np.zeros((96, 96), np.uint8))


def test_a_subject_is_put_before_another_backdrop() -> None:
    """The old ground and its ignored rim are gone; labels are where the subject is seen."""
    config = OFF.model_copy(update={"paste_share": 1.0, "flip_share": 0.0})

    image_bgr, labels, _ = augmented(_subject(), config, np.random.default_rng(0), lambda _: _backdrop())

    assert set(np.unique(labels)) == {0, 1}
    assert (image_bgr[labels == 1] == 240).all()
    assert (image_bgr[labels == 0] == 120).all()
    assert 0.8 * 800 < (labels == 1).sum() <= 800  # the edge is drawn in by a pixel


def test_a_subject_that_the_border_cuts_is_left_where_it_is() -> None:
    """Half a person would float before the new backdrop."""
    inside = np.ones((96, 96), np.uint8)
    inside[:, 60:] = 0
    pair = _subject(40)
    crop = Crop(pair.image_bgr, pair.label_map, inside)
    behind = Crop(_backdrop().image_bgr, _backdrop().label_map, np.ones((96, 96), np.uint8))

    assert pasted(crop, behind, OFF, np.random.default_rng(0)) is crop


def test_a_window_without_subject_holds_class_0_alone() -> None:
    """Ignored pixels may be a subject too; a picture that is full of them has no window."""
    pair = _subject()

    for seed in range(20):
        window = window_without_subject(pair.label_map, (64, 96), np.random.default_rng(seed))
        assert window is not None
        left, top, width, height = window
        assert not pair.label_map[top : top + height, left : left + width].any()
        assert width / height == pytest.approx(96 / 64, abs=0.1)
    everywhere = np.full((64, 64), IGNORE, np.uint8)
    assert window_without_subject(everywhere, (64, 64), np.random.default_rng(0)) is None


def test_a_crop_without_subject_is_filled_by_its_window() -> None:
    """No bar, no subject; what lies beside the window is seen in the rim only, where bilinear pixels are mixed."""
    config = OFF.model_copy(update={"without_subject_share": 1.0})

    for seed in range(10):
        image_bgr, labels, _ = augmented(_subject(), config, np.random.default_rng(seed))
        assert not labels.any()
        assert (image_bgr[4:-4, 4:-4] == 40).all()


@pytest.mark.parametrize("flip_share", [0.0, 1.0])
def test_a_filled_window_keeps_its_edges(flip_share: float) -> None:
    """Half-pixel centres: a window twice enlarged is each pixel twice, mirrored or not."""
    image = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    labels = np.random.default_rng(1).integers(0, 9, (40, 40)).astype(np.uint8)
    config = OFF.model_copy(update={"crop_px": 32, "flip_share": flip_share})

    crop = cut(Pair("", image, labels), fill((10, 5, 16, 16), config, np.random.default_rng(0)), (32, 32))

    expected = labels[5:21, 10:26].repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(crop.label_map, expected[:, ::-1] if flip_share else expected)


def test_h264_keeps_the_picture_and_its_place() -> None:
    """Good quality is close, bad quality is worse, and nothing moves with the camera of the frame before."""
    rng = np.random.default_rng(0)
    image = np.asarray(rng.integers(60, 200, (12, 12, 3)), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    motion = np.array([5.0, -3.0])

    def error(crf: int) -> float:
        return float(np.abs(h264(image, crf, motion).astype(int) - image).mean())

    assert error(10) < 8  # what is left is chroma at half the size
    assert error(10) < error(45)
    moved = np.roll(image, (-3, 5), axis=(0, 1))
    assert np.abs(h264(image, 10, motion).astype(int) - moved).mean() > 3 * error(10)


def test_sensor_noise_grows_with_the_signal() -> None:
    """Bright surfaces are noisier than dark ones, and the mean stays."""
    image = np.full((64, 128, 3), 40, np.uint8)
    image[:, 64:] = 200

    seen = noisy(image, 10.0, np.random.default_rng(3)).astype(float)

    dark, bright = seen[:, :64], seen[:, 64:]
    assert bright.std() > 1.2 * dark.std()
    assert abs(dark.mean() - 40) < 1
    assert abs(bright.mean() - 200) < 1


def test_motion_blurs_along_its_direction_only() -> None:
    """A vertical edge is softened by a horizontal move and kept by a vertical one."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, 32:] = 200

    across, along = motion_blurred(image, 9, 0.0), motion_blurred(image, 9, np.pi / 2)

    assert ((across > 10) & (across < 190)).any()
    assert not ((along > 10) & (along < 190)).any()


def test_a_dark_room_is_darker_and_leaves_the_labels() -> None:
    """Only the picture changes."""
    plain = augmented(_subject(), OFF, np.random.default_rng(4))
    dark = augmented(_subject(), OFF.model_copy(update={"low_light_share": 1.0}), np.random.default_rng(4))

    assert dark[0].mean() < 0.8 * plain[0].mean()
    np.testing.assert_array_equal(dark[1], plain[1])


def test_crops_may_be_wide() -> None:
    """CamVid's shape, with everything on."""
    config = Augment(
        crop_px=128, crop_height_px=96, h264_share=1.0, low_light_share=1.0, motion_blur_share=1.0, paste_share=0.5
    )

    image_bgr, labels, _ = augmented(_subject(), config, np.random.default_rng(0), lambda _: _backdrop())

    assert image_bgr.shape == (96, 128, 3)
    assert labels.shape == (96, 128)


def test_things_are_no_subject() -> None:
    """Objects stand where class 0 is: the subject and its ignored rim keep their pixels, and every label stays."""
    config = OFF.model_copy(update={"things_share": 1.0, "flip_share": 0.0})
    pair = _subject()
    n_seen = 0

    for seed in range(12):
        image_bgr, labels, _ = augmented(pair, config, np.random.default_rng(seed))
        np.testing.assert_array_equal(labels, pair.label_map)
        np.testing.assert_array_equal(image_bgr[labels != 0], pair.image_bgr[labels != 0])
        n_seen += bool((image_bgr != pair.image_bgr).any())
    assert n_seen >= 10  # now and then the only thing lies outside the crop


def test_things_stay_out_of_bars() -> None:
    """A letterboxed frame's bars are black, whatever stands in the picture."""
    config = OFF.model_copy(update={"things_share": 1.0, "scale_min": 0.5, "scale_max": 0.5})

    for seed in range(6):
        image_bgr, labels, inside = augmented(_subject(), config, np.random.default_rng(seed))
        assert not image_bgr[inside == 0].any()
        assert (labels[inside == 0] == IGNORE).all()
