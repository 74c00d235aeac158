"""Folders of pairs: what is read, and what is refused with the file's name."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.data.datasets import Folder, clip_of_background, read_image
from engines.errors import DataError
from tests.engines.toy import picture, write_folder


def test_a_folder_gives_its_pairs_in_name_order(tmp_path: Path) -> None:
    """Image and mask of one name belong together, as they were written."""
    pairs = list(Folder(write_folder(tmp_path, 3), n_classes=2))

    assert [pair.name for pair in pairs] == ["toy_00", "toy_01", "toy_02"]
    image, labels = picture(2)
    np.testing.assert_array_equal(pairs[2].image_bgr, image)
    np.testing.assert_array_equal(pairs[2].label_map, labels)


def test_a_prefix_chooses_a_part_of_a_folder(tmp_path: Path) -> None:
    """Sources that share a folder are told apart by the beginning of the name."""
    write_folder(tmp_path, 2, "a_")
    write_folder(tmp_path, 3, "b_")

    assert len(Folder(tmp_path, 2, "b_")) == 3
    with pytest.raises(DataError, match="begins with 'c_'"):
        Folder(tmp_path, 2, "c_")


def test_an_image_without_a_mask_is_named(tmp_path: Path) -> None:
    """Half a pair is an error at the door, not a shorter data set."""
    write_folder(tmp_path, 2)
    (tmp_path / "masks" / "toy_01.png").unlink()

    with pytest.raises(DataError, match=r"1 images have no mask.*toy_01\.png"):
        Folder(tmp_path, 2)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.full((64, 64), 7, np.uint8), "value 7 is not a class"),
        (np.zeros((64, 64, 3), np.uint8), "one-channel"),
        (np.zeros((32, 64), np.uint8), "its image is 64x64"),
    ],
)
def test_a_wrong_mask_is_named(tmp_path: Path, mask: np.ndarray, message: str) -> None:
    """Values that are no class, colour masks and masks of another size are refused."""
    write_folder(tmp_path, 1)
    cv2.imwrite(str(tmp_path / "masks" / "toy_00.png"), mask)

    with pytest.raises(DataError, match=message):
        list(Folder(tmp_path, 2))


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    """OpenCV gives None without a word; the error has the file and the reason."""
    (tmp_path / "text.png").write_text("no picture")

    with pytest.raises(DataError, match=r"text\.png: not an image"):
        read_image(tmp_path / "text.png")
    with pytest.raises(DataError, match="no such file"):
        read_image(tmp_path / "nothing.png")


def test_a_clip_of_background_is_labelled_background(tmp_path: Path) -> None:
    """Frames come at 512 on the longer side with labels of zero; a file that is no clip is refused."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (1024, 512))
    for level in (50, 100):
        writer.write(np.full((512, 1024, 3), level, np.uint8))
    writer.release()

    pairs = list(clip_of_background(path))

    assert [pair.image_bgr.shape for pair in pairs] == [(256, 512, 3)] * 2
    assert not any(pair.label_map.any() for pair in pairs)
    (tmp_path / "text.mp4").write_text("no clip")
    with pytest.raises(DataError, match="no frame could be decoded"):
        list(clip_of_background(tmp_path / "text.mp4"))
