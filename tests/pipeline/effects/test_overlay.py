"""Classes in colour, and a legend that says which is which."""

import numpy as np
import pytest

from pipeline.effects.legend import Legend
from pipeline.effects.overlay import Overlay
from tests.pipeline.effects.scenes import PERSON, STREET, busy_image, person_scene, street_scene

PLAIN = Overlay(opacity=0.5, legend=False)


def test_the_subject_is_tinted_in_its_colour() -> None:
    """Half picture, half the palette's red, which stands last in BGR; the background is left alone."""
    scene = person_scene()

    painted = scene.painted(PLAIN)

    inside, outside = scene.matte.alpha == 255, scene.matte.alpha == 0
    expected = scene.image_bgr / 2 + np.array(PERSON[1][1][::-1]) / 2
    assert np.abs(painted[inside] - expected[inside]).max() <= 1
    np.testing.assert_array_equal(painted[outside], scene.image_bgr[outside])


def test_every_class_of_a_label_map_is_tinted() -> None:
    """Each band has its own colour; the class that is black in the palette stays clear."""
    scene = street_scene()

    painted = scene.painted(PLAIN)

    for index, colour_rgb in enumerate(STREET[1]):
        # The two engine pixels at each border are a mixture.
        band = slice(index * 40 + 3, index * 40 + 37)
        picture = scene.image_bgr[:, band].astype(np.float64)
        expected = picture / 2 + np.array(colour_rgb[::-1]) / 2 if index else picture
        assert np.abs(painted[:, band] - expected).max() <= 2, STREET[0][index]


def test_full_opacity_paints_flat() -> None:
    """With opacity 1 nothing of the picture is left where a class is."""
    person, street = person_scene(), street_scene()
    flat = Overlay(opacity=1, legend=False)

    subject, bands = person.painted(flat)[person.matte.alpha == 255], street.painted(flat)

    assert (subject == np.array(PERSON[1][1][::-1])).all()
    for index, colour_rgb in enumerate(STREET[1][1:], 1):
        assert (bands[:, index * 40 + 3 : index * 40 + 37] == np.array(colour_rgb[::-1])).all()


def test_the_legend_stands_in_the_lower_left_corner() -> None:
    """It covers its corner and nothing else; the swatches have the palette's colours."""
    scene = street_scene(640, 360)

    without, painted = scene.painted(PLAIN), scene.painted(Overlay(opacity=0.5))

    rows, columns = np.nonzero((without != painted).any(axis=2))
    assert rows.min() > 180
    assert columns.max() < 320
    corner = painted[rows.min() : rows.max(), columns.min() : columns.max()].reshape(-1, 3)
    for colour_rgb in STREET[1][1:]:
        assert (corner == np.array(colour_rgb[::-1])).all(axis=1).sum() > 50


def test_other_classes_get_another_legend() -> None:
    """A painter that meets another engine's matte learns its classes anew."""
    person, street = person_scene(), street_scene()
    painter = PLAIN.open(person.format)
    out = np.empty_like(person.image_bgr)
    painter.paint(person.image_bgr, person.matte, 0, out)

    painter.paint(street.image_bgr, street.matte, 0, out)

    np.testing.assert_array_equal(out, street.painted(PLAIN))


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (1280, 720), (320, 180), (180, 320), (64, 36), (8, 8)])
@pytest.mark.parametrize("n_classes", [0, 1, 21, 150])
def test_a_legend_fits_every_frame(width: int, height: int, n_classes: int) -> None:
    """At most 70 % of the height and 60 % of the width are covered, and nothing where nothing fits."""
    classes = [(f"class number {index}", (200, index, 90)) for index in range(n_classes)]
    image = busy_image(width, height)
    drawn = image.copy()

    Legend(height, width, classes).draw(drawn)

    changed = (image != drawn).any(axis=2)
    n_rows, n_columns = np.count_nonzero(changed.any(axis=1)), np.count_nonzero(changed.any(axis=0))
    assert n_rows <= 0.7 * height
    assert n_columns <= 0.6 * width
    assert (n_rows > 0) == (n_classes > 0 and width >= 320)
