"""Pictures through a codec and back."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.parity.clips import write_h264, write_lossless
from pipeline.sources import source_from_uri
from tests.pipeline.effects.scenes import busy_image
from tests.pipeline.sources.clips import images


@pytest.mark.parametrize(("width", "height"), [(64, 48), (63, 47), (17, 300)])
def test_a_lossless_clip_gives_back_every_bit(width: int, height: int, tmp_path: Path) -> None:
    """Any size, through the very source that a stream opens."""
    pictures = [busy_image(width, height, seed) for seed in range(3)]
    write_lossless(tmp_path / "in.mkv", pictures)

    found = images(source_from_uri(str(tmp_path / "in.mkv")).open())

    assert len(found) == 3
    for picture, image in zip(pictures, found, strict=True):
        np.testing.assert_array_equal(image, picture)


def test_one_picture_is_a_clip(tmp_path: Path) -> None:
    """A size that occurs once in a data set is played, too."""
    write_lossless(tmp_path / "in.mkv", [busy_image(40, 30)])

    assert len(images(source_from_uri(str(tmp_path / "in.mkv")).open())) == 1


def test_a_coded_clip_has_even_sides_and_the_same_picture(tmp_path: Path) -> None:
    """The added line repeats the edge; colours stay where they were, to within the codec's loss."""
    pictures = [np.full((47, 63, 3), colour, np.uint8) for colour in ((200, 60, 30), (20, 90, 220))]
    write_h264(tmp_path / "in.mkv", pictures)

    found = images(source_from_uri(str(tmp_path / "in.mkv")).open())

    assert [image.shape for image in found] == [(48, 64, 3)] * 2
    for picture, image in zip(pictures, found, strict=True):
        assert np.abs(image[:47, :63].astype(int) - picture).mean() < 3
