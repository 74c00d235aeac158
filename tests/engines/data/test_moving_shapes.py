"""A clip of moving shapes, and the labels that belong to each frame."""

import cv2
import numpy as np
import pytest

from engines.data.moving_shapes import MovingShapes, write_clip
from engines.errors import DataError


def test_every_shape_is_whole_in_the_first_frame() -> None:
    """Whoever looks at the first frame sees one of each class."""
    _, label_map = MovingShapes(3).frame(0)

    shares = np.bincount(label_map.ravel(), minlength=3) / label_map.size
    assert shares[1] == pytest.approx(np.pi * 72**2 / (640 * 360), rel=0.05)
    assert shares[2] > 0.04


def test_shapes_move_and_stay_inside() -> None:
    """Over 200 frames each of them goes somewhere, and none leaves the picture."""
    shapes = MovingShapes(2, 160, 96)
    centres, areas = [], []
    for number in range(0, 200, 10):
        inside = shapes.frame(number)[1] == 1
        areas.append(inside.sum())
        centres.append(np.argwhere(inside).mean(axis=0))

    assert np.ptp(centres, axis=0).min() > 20
    assert min(areas) > 0.9 * max(areas)


def test_the_clip_shows_the_frames(tmp_path) -> None:
    """What is decoded is what was drawn, up to compression."""
    shapes = MovingShapes(3, 160, 96)
    write_clip(tmp_path / "clip.mp4", shapes, 5)

    capture = cv2.VideoCapture(str(tmp_path / "clip.mp4"))
    shown = []
    while (read := capture.read())[0]:
        shown.append(read[1])
    capture.release()

    assert len(shown) == 5
    assert np.abs(shown[4].astype(int) - shapes.frame(4)[0]).mean() < 6


def test_more_classes_than_shapes_are_refused() -> None:
    """The error names the shapes there are."""
    with pytest.raises(DataError, match="cross"):
        MovingShapes(6)
