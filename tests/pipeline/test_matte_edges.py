"""Edges of a matte: on the picture's own, whatever the sizes; shrunk and softened on demand."""

import tracemalloc

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.matte import MatteUpsampler
from pipeline.matte.edges import GuidedEdges
from pipeline.matte.outline import Outline
from pipeline.settings import MatteOptions
from tests.pipeline.effects.scenes import PERSON, busy_image, format_of, spec_of

Bytes = NDArray[np.uint8]


def _disc(height: int, width: int) -> Bytes:
    mask = np.zeros((height, width), np.uint8)
    cv2.circle(mask, (width // 2, height // 2), min(height, width) // 3, 255, -1)
    return mask


def _picture(mask: Bytes) -> Bytes:
    """A warm subject before a cool wall of the same luma, and sensor noise."""
    rng = np.random.default_rng(2)
    image = np.where(mask[..., None] > 127, np.array((60, 110, 200)), np.array((190, 132, 70)))
    return np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


def _coarse(mask: Bytes, factor: int, shift_px: int = 0) -> Bytes:
    """As an engine would answer: a stride of 4 of its own pixels, and a few pixels beside."""
    height, width = mask.shape
    moved = np.roll(mask, shift_px, axis=1)
    cells = cv2.resize(moved, (width // (4 * factor), height // (4 * factor)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(cells, (width // factor, height // factor), interpolation=cv2.INTER_LINEAR))


def _error(alpha: Bytes, mask: Bytes) -> float:
    return float(np.abs(alpha.astype(int) - mask).mean())


@pytest.mark.parametrize("shift_px", [0, 6])
def test_contours_lie_on_the_pictures_edges(shift_px: int) -> None:
    """A soft alpha, six pixels beside, comes to a third of its distance from the truth: colour tells the two apart."""
    mask = _disc(360, 640)
    small = _coarse(mask, 2, shift_px)
    out = np.empty_like(mask)

    GuidedEdges(360, 640, 180, 320).refine(small, _picture(mask), out)

    linear = cv2.resize(small, (640, 360), interpolation=cv2.INTER_LINEAR)
    assert _error(out, mask) < 0.4 * _error(linear, mask)


@pytest.mark.parametrize(("height", "width"), [(360, 640), (361, 643), (97, 50), (7, 5), (1, 1), (3, 200)])
def test_every_size_is_refined_in_place(height: int, width: int) -> None:
    """Cells may hang over the frame; nothing shifts for it, and every pixel is written."""
    mask = _disc(height, width)
    image = _picture(mask)
    once, again = np.zeros_like(mask), np.full_like(mask, 255)
    edges = GuidedEdges(height, width, max(1, height // 2), max(1, width // 2))
    small = cv2.resize(mask, (max(1, width // 2), max(1, height // 2)), interpolation=cv2.INTER_AREA)

    edges.refine(small, image, once)
    edges.refine(small, image, again)

    np.testing.assert_array_equal(once, again)
    if min(height, width) > 40:
        assert _error(once, mask) < 2


@pytest.mark.parametrize("level", [0, 255])
def test_where_there_is_no_contour_the_picture_does_not_matter(level: int) -> None:
    """All background stays all background, however busy."""
    out = np.empty((96, 160), np.uint8)

    GuidedEdges(96, 160, 48, 80).refine(np.full((48, 80), level, np.uint8), busy_image(160, 96), out)

    assert (out == level).all()


def test_a_picture_without_edges_keeps_the_contour() -> None:
    """In the dark there is nothing to go by: the engine's contour stays within a pixel or two of where it was."""
    mask = _disc(360, 640)
    small = _coarse(mask, 2)
    out = np.empty_like(mask)

    GuidedEdges(360, 640, 180, 320).refine(small, np.full((360, 640, 3), 16, np.uint8), out)

    moved = cv2.distanceTransform((out > 127).astype(np.uint8) ^ (mask > 127).astype(np.uint8), cv2.DIST_L2, 5)
    assert moved.max() <= 3


def test_only_looking_where_the_contour_is_changes_little() -> None:
    """Tiles that are left out would differ by less than a tenth of full scale."""
    mask = _disc(360, 640)
    small, image = _coarse(mask, 2, 6), busy_image(640, 360)
    out = np.empty_like(mask)
    edges = GuidedEdges(360, 640, 180, 320)
    edges.refine(small, image, out)
    in_tiles = out.copy()

    for top in range(0, edges._coarse.shape[0], edges._tile[0]):
        rows, columns = edges._coarse.shape
        edges._refine_cells(image, out, top, min(rows, top + edges._tile[0]), 0, columns)

    assert np.abs(in_tiles.astype(int) - out).max() <= 26


def test_the_grid_allocates_nothing() -> None:
    """Memory is flat over many frames."""
    mask = _disc(96, 160)
    small, image, out = _coarse(mask, 2), _picture(mask), np.empty_like(mask)
    edges = GuidedEdges(96, 160, 48, 80)
    edges.refine(small, image, out)
    tracemalloc.start()
    try:
        for index in range(900):
            if index == 600:
                before, _ = tracemalloc.get_traced_memory()
            edges.refine(small, image, out)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert after - before < 2048


@pytest.mark.parametrize("pixels", [-7, -2, 1, 6])
def test_shrinking_moves_the_contour_by_so_many_pixels(pixels: int) -> None:
    """A disc's radius changes by as much, on the axes and between them; a negative number makes it grow."""
    mask = np.zeros((200, 200), np.uint8)
    cv2.circle(mask, (100, 100), 60, 255, -1)
    alpha = mask.copy()

    Outline(pixels, 0).apply(alpha)

    radius = np.sqrt(np.count_nonzero(alpha) / np.pi)
    assert abs(radius - (np.sqrt(np.count_nonzero(mask) / np.pi) - pixels)) < 0.1 * abs(pixels) + 0.3


@pytest.mark.parametrize("pixels", [1, 4, 9])
def test_a_feather_is_as_long_as_asked_for(pixels: int) -> None:
    """From full to half takes so many pixels, and the contour stays."""
    alpha = np.zeros((20, 100), np.uint8)
    alpha[:, 50:] = 255

    Outline(0, pixels).apply(alpha)

    row = alpha[10].astype(int)
    assert np.count_nonzero((row > 0) & (row < 255)) in range(2 * pixels - 1, 2 * pixels + 1)
    assert row[49] < 128 <= row[50] + 1
    assert (np.diff(row) >= 0).all()


def test_options_reach_the_matte() -> None:
    """`auto` is guided, `linear` the plain enlargement; shrinking and softening apply to either."""
    mask = _disc(96, 160)
    image, small = _picture(mask), _coarse(mask, 2)

    def alpha(**options: object) -> Bytes:
        chosen = MatteOptions.model_validate(options)
        return MatteUpsampler(format_of(160, 96), spec_of(PERSON, 80, 48), chosen).matte(small, None, image).alpha

    linear = cv2.resize(small, (160, 96), interpolation=cv2.INTER_LINEAR)
    guided = alpha(edges="guided")
    np.testing.assert_array_equal(alpha(edges="linear"), linear)
    np.testing.assert_array_equal(alpha(), guided)
    assert _error(guided, mask) < _error(linear, mask)
    assert np.count_nonzero(alpha(edges="linear", shrink_px=3) > 127) < np.count_nonzero(linear > 127)
    softened = alpha(edges="guided", feather_px=8)
    assert np.count_nonzero((softened > 5) & (softened < 250)) > 2 * np.count_nonzero((guided > 5) & (guided < 250))


def test_texture_in_the_subjects_colours_is_not_the_subject() -> None:
    """Dark foliage behind dark hair: away from the engine's own contour nothing is taken for subject."""
    height, width = 192, 320
    mask = np.zeros((height, width), np.uint8)
    mask[:, :120] = 255
    image = np.full((height, width, 3), 220, np.uint8)
    image[mask > 0] = 20
    leaves = np.random.default_rng(1).random((height, width)) < 0.2
    image[leaves & (mask == 0)] = 20
    small = _coarse(mask, 2)
    out = np.empty((height, width), np.uint8)
    edges = GuidedEdges(height, width, *small.shape)

    edges.refine(small, image, out)

    beyond = 120 + 3 * edges.cell_px
    assert np.count_nonzero(image[:, beyond:] == 20), "there is something to be mistaken for the subject"
    assert out[:, beyond:].max() == 0


@pytest.mark.parametrize(
    ("edges", "is_on_device", "is_live", "n_cores", "decided"),
    [
        ("auto", False, False, 2, "guided"),
        ("auto", False, True, 2, "linear"),
        ("auto", False, True, 4, "guided"),
        ("auto", True, False, 16, "linear"),
        ("guided", False, True, 2, "guided"),
        ("linear", False, False, 16, "linear"),
    ],
)
def test_auto_is_guided_where_it_costs_no_frames(
    edges: str, is_on_device: bool, is_live: bool, n_cores: int, decided: str
) -> None:
    """A live run on few cores, and frames that stay on a GPU, are enlarged plainly unless asked otherwise."""
    options = MatteOptions.model_validate({"edges": edges, "shrink_px": 1})

    found = options.decided(is_on_device=is_on_device, is_live=is_live, n_cores=n_cores)

    assert found == MatteOptions.model_validate({"edges": decided, "shrink_px": 1})
