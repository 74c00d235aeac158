"""The worst pictures on one sheet."""

from pathlib import Path

import cv2
import pytest

from engines.data.pairs import Pair
from engines.errors import EngineError
from engines.evaluation.contact_sheet import WRONG_BGR, WorstPictures
from engines.evaluation.evaluate import Seen
from tests.engines.toy import CLASSES, PALETTE, picture


def _seen(name: str, miou: float, is_right: bool = True, size: int = 64) -> Seen:
    image, labels = picture(3, size, size)
    predicted = labels if is_right else 1 - labels
    return Seen(Pair(name, image, labels), predicted, miou)


def test_the_worst_are_kept_worst_first() -> None:
    """Of many pictures as few as the sheet shows; a wholly ignored one has no score."""
    worst = WorstPictures(3)

    for index, miou in enumerate((0.9, 0.2, 0.8, float("nan"), 0.5, 0.2, 0.95)):
        worst.add(_seen(f"p{index}", miou))

    assert worst.names == ("p1", "p5", "p4")


def test_what_is_kept_is_small_and_its_own() -> None:
    """A hundred big pictures leave ten small ones in memory, and no view of a big one."""
    worst = WorstPictures(2)

    worst.add(_seen("big", 0.1, size=900))

    kept = worst._sorted()[0]
    assert kept.image_bgr.shape[0] <= 180
    assert kept.image_bgr.base is None


@pytest.mark.parametrize(("n", "n_blocks"), [(1, 1), (4, 4), (10, 5)])
def test_the_sheet_has_a_row_a_picture_and_two_columns_for_many(n: int, n_blocks: int) -> None:
    """Five rows of two for ten."""
    worst = WorstPictures(10)
    for index in range(n):
        worst.add(_seen(f"p{index}", 0.5, is_right=False))

    sheet = worst.sheet(CLASSES, PALETTE)

    width = 990 * (2 if n > 4 else 1)
    assert sheet.shape[1] == width
    assert (sheet.shape[0] - 48) // 210 == n_blocks
    is_red = (sheet[48:] == WRONG_BGR).all(axis=-1)
    assert is_red.sum() == n * 64 * 64


def test_a_legend_of_many_classes_takes_several_lines() -> None:
    """Nothing runs off the sheet."""
    worst = WorstPictures(1)
    worst.add(_seen("p", 0.5))
    many = tuple(f"class number {index}" for index in range(21))

    few_rows = worst.sheet(CLASSES, PALETTE).shape[0]

    assert worst.sheet(many, [(index, index, index) for index in range(21)]).shape[0] > few_rows


def test_the_file_is_a_png_and_a_failure_is_one_line(tmp_path: Path) -> None:
    """Folders are made; a name that OpenCV cannot write is refused in words."""
    worst = WorstPictures(1)
    worst.add(_seen("p", 0.5))

    worst.write(tmp_path / "deep" / "worst.png", CLASSES, PALETTE)

    assert cv2.imread(str(tmp_path / "deep" / "worst.png")).shape[1] == 990
    with pytest.raises(EngineError, match=r"worst\.nothing: the contact sheet cannot be written"):
        worst.write(tmp_path / "worst.nothing", CLASSES, PALETTE)
