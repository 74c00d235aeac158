"""Paired augmentation: picture and labels stay together, bars look like the stream's."""

import numpy as np
import pytest

from engines.data import IGNORE
from engines.data.datasets import Pair
from engines.data.transforms import Augment, augmented
from tests.engines.toy import picture

PLAIN = Augment(
    crop_px=64, colour=0.0, grey_share=0, blur_share=0, noise_share=0, jpeg_share=0, bars_share=0, closeup_share=0
)
"""Geometry alone."""


def _pair(index: int = 0, height: int = 64, width: int = 64) -> Pair:
    return Pair(f"toy_{index}", *picture(index, height, width))


@pytest.mark.parametrize("seed", range(8))
def test_labels_move_with_the_picture(seed: int) -> None:
    """Whatever the scale, the turn and the mirror: red is where the labels say square."""
    image_bgr, labels, _ = augmented(_pair(seed), PLAIN, np.random.default_rng(seed))

    is_red = (image_bgr[..., 2] > 170) & (image_bgr[..., 0] < 70)
    is_square = labels == 1
    # Bilinear pixels against nearest labels: they may differ on the rim only.
    assert (is_red != is_square).mean() < 0.06
    assert image_bgr.shape == (64, 64, 3)
    assert labels.shape == (64, 64)


def test_outside_the_picture_is_black_and_ignored() -> None:
    """A small picture lies on bars as a letterboxed frame does, whatever happens to its colours."""
    config = Augment(crop_px=64, scale_min=0.3, scale_max=0.31, closeup_share=0.0, jpeg_share=1.0, noise_share=1.0)

    image_bgr, labels, _ = augmented(_pair(), config, np.random.default_rng(1))

    assert (labels == IGNORE).mean() > 0.5
    assert image_bgr[labels == IGNORE].max() == 0
    assert image_bgr[labels != IGNORE].mean() > 30


def test_added_bars_are_black_and_ignored() -> None:
    """A crop inside the picture gets bars, at one pair of sides."""
    config = PLAIN.model_copy(update={"bars_share": 1.0, "scale_min": 2.0, "scale_max": 2.1, "rotate_deg": 0.0})
    shares = []

    for seed in range(8):
        image_bgr, labels, inside = augmented(_pair(), config, np.random.default_rng(seed))
        assert not image_bgr[labels == IGNORE].any()
        assert np.array_equal(inside == 0, labels == IGNORE)
        shares.append((labels == IGNORE).mean())

    assert max(shares) > 0.1


def test_ignored_labels_inside_the_picture_keep_their_pixels() -> None:
    """255 means `do not learn here`; only bars are black."""
    image, labels = picture(0)
    labels[:] = IGNORE

    inside = PLAIN.model_copy(update={"scale_min": 2.0, "scale_max": 2.1})
    image_bgr, _, _ = augmented(Pair("void", image, labels), inside, np.random.default_rng(0))

    assert image_bgr.mean() > 30


def test_closeups_look_at_the_upper_part_of_the_subject() -> None:
    """A full-length subject fills more of the crop when only closeups are drawn."""
    image = np.full((256, 128, 3), 100, np.uint8)
    labels = np.zeros((256, 128), np.uint8)
    labels[20:240, 50:80] = 1
    tall = Pair("tall", image, labels)

    def mean_share(config: Augment) -> float:
        crops = [augmented(tall, config, np.random.default_rng(seed))[1] for seed in range(20)]
        return float(np.mean([(crop == 1).mean() for crop in crops]))

    closeups = PLAIN.model_copy(update={"closeup_share": 1.0})
    whole = PLAIN.model_copy(update={"scale_min": 0.25, "scale_max": 0.3})
    assert mean_share(closeups) > 2 * mean_share(whole)


def test_the_same_generator_gives_the_same_crop() -> None:
    """A resumed training sees what an uninterrupted one would have seen."""
    first = augmented(_pair(), Augment(crop_px=64), np.random.default_rng((3, 5, 7)))
    second = augmented(_pair(), Augment(crop_px=64), np.random.default_rng((3, 5, 7)))

    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_the_source_pair_is_left_as_it_was() -> None:
    """Pairs stay in memory for the whole training."""
    pair = _pair()
    image, labels = pair.image_bgr.copy(), pair.label_map.copy()

    for seed in range(5):
        augmented(pair, Augment(crop_px=64, bars_share=1.0), np.random.default_rng(seed))

    np.testing.assert_array_equal(pair.image_bgr, image)
    np.testing.assert_array_equal(pair.label_map, labels)


def test_a_crop_of_the_pictures_own_size_is_the_picture() -> None:
    """Crops once lay half a pixel beside it: blurred, and with a black row and column of 255."""
    still = PLAIN.model_copy(
        update={"scale_min": 1.0, "scale_max": 1.0, "rotate_deg": 0.0, "aspect": 0.0, "flip_share": 0.0}
    )
    pair = _pair()

    image_bgr, labels, _ = augmented(pair, still, np.random.default_rng(0))

    np.testing.assert_array_equal(image_bgr, pair.image_bgr)
    np.testing.assert_array_equal(labels, pair.label_map)
