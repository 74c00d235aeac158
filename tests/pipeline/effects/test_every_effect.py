"""What holds for every effect of the table, with one class and with many."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from pipeline.effects import EFFECTS, effect_from_text
from tests.pipeline.effects.scenes import Scene, busy_image, person_scene, street_scene

TEXTS = [*EFFECTS, "cutout:black", "replace:teal", "split:overlay", "split:pixelate:7", "blur:1", "blur:60"]
SCENES = [person_scene, street_scene]

every_effect = pytest.mark.parametrize("text", TEXTS)
every_scene = pytest.mark.parametrize("scene_of", SCENES)
SceneOf = Callable[..., Scene]


@every_effect
@every_scene
@pytest.mark.parametrize(("width", "height"), [(160, 96), (161, 75), (32, 18), (6, 4)])
def test_every_pixel_is_painted(text: str, scene_of: SceneOf, width: int, height: int) -> None:
    """What lay in the slot before never shows, whatever the size: the outcome does not depend on it."""
    scene = scene_of(width, height)
    once, again = np.zeros_like(scene.image_bgr), np.full_like(scene.image_bgr, 255)
    effect = effect_from_text(text)

    effect.open(scene.format).paint(scene.image_bgr, scene.matte, 0, once)
    effect.open(scene.format).paint(scene.image_bgr, scene.matte, 0, again)

    np.testing.assert_array_equal(once, again)


@every_effect
@every_scene
def test_a_painter_keeps_nothing_of_the_frame_before(text: str, scene_of: SceneOf) -> None:
    """The same frame gives the same picture, whatever was painted in between."""
    scene = scene_of()
    painter = effect_from_text(text).open(scene.format)
    first, other, last = (np.empty_like(scene.image_bgr) for _ in range(3))
    painter.paint(scene.image_bgr, scene.matte, 0, first)

    painter.paint(busy_image(160, 96, seed=8), scene.matte, 0, other)
    painter.paint(scene.image_bgr, scene.matte, 0, last)

    np.testing.assert_array_equal(first, last)


@every_effect
@every_scene
def test_strength_0_leaves_the_picture_as_it_is(text: str, scene_of: SceneOf) -> None:
    """Turned down to nothing, no effect is left (a split keeps its line)."""
    scene = scene_of()

    painted = scene.painted(effect_from_text(text).with_strength(0.0))

    differing = (painted != scene.image_bgr).any(axis=(0, 2))
    assert np.count_nonzero(differing) <= (1 if text.startswith("split") else 0)


@every_effect
def test_strength_1_changes_nothing(text: str) -> None:
    """1 is as configured."""
    effect = effect_from_text(text)

    assert effect.with_strength(1.0) == effect


@every_effect
@every_scene
def test_every_strength_can_be_painted(text: str, scene_of: SceneOf) -> None:
    """A person at the page may set anything from 0 to 2."""
    scene = scene_of()

    painted = [scene.painted(effect_from_text(text).with_strength(strength)) for strength in (0.01, 0.5, 1.5, 2.0)]

    assert all(image.shape == scene.image_bgr.shape for image in painted)


@every_effect
@every_scene
def test_a_painter_allocates_nothing_in_the_steady_state(text: str, scene_of: SceneOf) -> None:
    """Over 2 000 frames memory stays flat, and no frame needs a scratch array of its own."""
    scene = scene_of()
    painter = effect_from_text(text).open(scene.format)
    out = np.empty_like(scene.image_bgr)
    for index in range(50):
        painter.paint(scene.image_bgr, scene.matte, index, out)
    tracemalloc.start()
    try:
        for index in range(2000):
            if index == 100:
                before, _ = tracemalloc.get_traced_memory()
                tracemalloc.reset_peak()
            painter.paint(scene.image_bgr, scene.matte, index * 33_000_000, out)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    # A view and the interpreter's own free lists move by some hundred bytes; one frame here is 46 080.
    assert after - before < 2048
    assert peak - before < out.nbytes // 4
