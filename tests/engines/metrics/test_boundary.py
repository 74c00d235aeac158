"""Contours: against distances measured point by point, and cases drawn by hand."""

import cv2
import numpy as np
import pytest

from engines.metrics.boundary import BAND_PX, RADII_PX, band_confusions, contour_band, matched_boundaries


def _blobs(seed: int, n_classes: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.random((40, 52)).astype(np.float32), (0, 0), 4)
    levels = np.quantile(noise, np.linspace(0, 1, n_classes + 1)[1:-1])
    labels = np.digitize(noise, levels).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.01] = 255
    return labels


def _outline(labels: np.ndarray, index: int) -> np.ndarray:
    """Coordinates of the class's pixels with a 4-neighbour of another label, looked for one by one."""
    height, width = labels.shape
    return np.array(
        [
            (y, x)
            for y in range(height)
            for x in range(width)
            if labels[y, x] == index
            and any(
                0 <= v < height and 0 <= u < width and labels[v, u] != index
                for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
            )
        ]
    ).reshape(-1, 2)


def _near(points: np.ndarray, others: np.ndarray, radius: int) -> int:
    if not len(points) or not len(others):
        return 0
    squared = ((points[:, None] - others[None]) ** 2).sum(axis=2).min(axis=1)
    return int((squared <= radius**2).sum())


@pytest.mark.parametrize("seed", range(3))
def test_matches_equal_those_of_all_distances(seed: int) -> None:
    """The chamfer transform decides as the Euclidean distance does, at every radius in use."""
    truth, predicted = _blobs(seed), _blobs(seed + 10)
    predicted[predicted == 255] = 0
    drawn_where_counted = np.where(truth == 255, 99, predicted)

    found = matched_boundaries(predicted, truth, 3)

    for index in range(3):
        true = _outline(truth, index)
        drawn = np.array([p for p in _outline(predicted, index) if drawn_where_counted[tuple(p)] != 99]).reshape(-1, 2)
        for place, radius in enumerate(RADII_PX):
            expected = [_near(drawn, true, radius), len(drawn), _near(true, drawn, radius), len(true)]
            assert found[place, index].tolist() == expected


def test_the_pictures_edge_is_no_boundary() -> None:
    """A class that fills the picture has no contour."""
    full = np.ones((8, 8), np.uint8)

    assert not matched_boundaries(full, full, 2).any()


def test_bands_lie_on_both_sides_of_a_contour() -> None:
    """A straight contour: one column on each side, then two, four, eight."""
    truth = np.zeros((10, 40), np.uint8)
    truth[:, 20:] = 1

    confusions = band_confusions(truth, truth, 2)

    assert [int(c.sum()) for c in confusions] == [2 * width * 10 for width in BAND_PX]
    assert contour_band(truth, 3).sum() == 2 * 3 * 10
    assert contour_band(truth, 3)[:, 17:23].all()


def test_an_error_far_from_contours_is_in_no_band() -> None:
    """The band measures contours only; the pixel nine columns away does not count."""
    truth = np.zeros((10, 40), np.uint8)
    truth[:, 20:] = 1
    predicted = truth.copy()
    predicted[5, 20 + 8] = 0
    predicted[5, 20 + 3] = 0

    confusions = band_confusions(predicted, truth, 2)

    assert [int(c[1, 0]) for c in confusions] == [0, 0, 1, 1]


def test_a_ring_of_ignored_pixels_is_a_contour_whose_own_pixels_do_not_count() -> None:
    """Pascal VOC draws 255 between object and background: the band is beside it."""
    truth = np.zeros((10, 20), np.uint8)
    truth[:, 10:12] = 255
    truth[:, 12:] = 1

    confusions = band_confusions((truth == 1).astype(np.uint8), truth, 2)

    assert int(confusions[0].sum()) == 2 * 10
    assert confusions[0].tolist() == [[10, 0], [0, 10]]


def test_a_picture_of_one_class_has_an_empty_band() -> None:
    """No contour, no pixels, no error."""
    flat = np.zeros((6, 6), np.uint8)

    assert not band_confusions(flat, flat, 2).any()
    assert not contour_band(flat, 4).any()
