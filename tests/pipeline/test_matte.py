"""The matte: from the engine's size to the frame's, once, without bars."""

import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.spec import ResizeRule
from pipeline.matte import Matte, MatteUpsampler
from pipeline.settings import MatteOptions
from tests.pipeline.effects.scenes import PERSON, STREET, Meaning, busy_image, format_of, spec_of

WIDTH, HEIGHT = 96, 64
"""Of the frame; the engines here see it at 64x32, so letterboxed it is 48x32 with bars of 8 on both sides."""

IMAGE = busy_image(WIDTH, HEIGHT)


def _upsampler(meaning: Meaning = PERSON, resize: ResizeRule = ResizeRule.LETTERBOX) -> MatteUpsampler:
    return MatteUpsampler(format_of(WIDTH, HEIGHT), spec_of(meaning, 64, 32, resize), MatteOptions(edges="linear"))


def _plane(value: int = 0) -> NDArray[np.uint8]:
    return np.full((32, 64), value, np.uint8)


def test_bars_are_cut_off_first() -> None:
    """What the engine says of its own black bars is nowhere in the frame."""
    alpha = _plane(255)
    alpha[:, 8:56] = 0

    matte = _upsampler().matte(alpha, None, IMAGE)

    assert matte.alpha.shape == (HEIGHT, WIDTH)
    assert not matte.alpha.any()


def test_a_stretched_frame_has_no_bars() -> None:
    """All of the plane is the frame when the engine's rule is to stretch."""
    alpha = _plane()
    alpha[:, 32:] = 255

    matte = _upsampler(resize=ResizeRule.STRETCH).matte(alpha, None, IMAGE)

    assert not matte.alpha[:, :47].any()
    assert (matte.alpha[:, 49:] == 255).all()


def test_the_matte_lies_where_the_engine_saw_the_subject() -> None:
    """A square of 10 to 20 in the engine's pixels is one of 4 to 24 in the frame's: bar off, then twice."""
    alpha = _plane()
    alpha[10:20, 10:20] = 255

    matte = _upsampler().matte(alpha, None, IMAGE)

    rows, columns = np.nonzero(matte.alpha > 127)
    assert (rows.min(), rows.max()) == (20, 39)
    assert (columns.min(), columns.max()) == (4, 23)


def test_labels_of_two_classes_are_the_alpha_at_half() -> None:
    """The label map cannot contradict the alpha that was composited."""
    alpha = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (32, 1))

    matte = _upsampler().matte(alpha, None, IMAGE)

    np.testing.assert_array_equal(matte.labels, matte.alpha > 127)


def test_labels_when_the_subject_is_class_0() -> None:
    """An engine may list its subject first."""
    meaning: Meaning = (("person", "background"), ((200, 0, 0), (0, 0, 0)), 0)
    alpha = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (32, 1))

    matte = _upsampler(meaning).matte(alpha, None, IMAGE)

    np.testing.assert_array_equal(matte.labels, matte.alpha <= 127)


def test_labels_are_those_of_this_frame() -> None:
    """They are made when asked for; those of the frame before are not served again."""
    upsampler = _upsampler()
    assert not upsampler.matte(_plane(0), None, IMAGE).labels.any()

    assert upsampler.matte(_plane(255), None, IMAGE).labels.all()


def test_class_indices_are_never_mixed() -> None:
    """Between road (1) and tree (3) lies no car (2)."""
    labels = _plane(1)
    labels[::3] = 3
    labels[:, ::5] = 3

    matte = _upsampler(STREET).matte(None, labels, IMAGE)

    assert set(np.unique(matte.labels)) == {1, 3}


def test_without_a_subject_class_0_is_the_background() -> None:
    """Blur and replace work with street scenes: whatever has a class stands in front."""
    labels = _plane(0)
    labels[:, 32:44] = 2
    labels[:, 44:] = 3

    matte = _upsampler(STREET).matte(None, labels, IMAGE)

    assert not matte.alpha[:, :47].any()
    assert (matte.alpha[:, 49:] == 255).all()
    assert matte.subject is None


def test_with_both_planes_each_says_its_own() -> None:
    """An engine of many classes with a subject: alpha cuts out that one, labels tell them all."""
    meaning: Meaning = (STREET[0], STREET[1], 2)
    alpha, labels = _plane(0), _plane(3)
    alpha[:16], labels[:16] = 255, 2

    matte = _upsampler(meaning).matte(alpha, labels, IMAGE)

    assert (matte.labels[:31] == 2).all()
    assert (matte.labels[33:] == 3).all()
    assert matte.alpha[:30].all()
    assert not matte.alpha[34:].any()


def test_labels_do_not_depend_on_the_slot_any_more() -> None:
    """The plane may be another frame's by the time somebody asks for labels."""
    labels = _plane(2)
    matte = _upsampler(STREET).matte(None, labels, IMAGE)

    labels[:] = 3

    assert (matte.labels == 2).all()


@pytest.mark.parametrize("asked_first", [False, True])
@pytest.mark.parametrize("meaning", [PERSON, STREET])
def test_a_copy_keeps_what_the_upsampler_overwrites(meaning: Meaning, asked_first: bool) -> None:
    """A sink in another thread may ask for labels frames later, whether or not they were made before."""
    upsampler = _upsampler(meaning)
    planes = {False: _plane(0), True: _plane(255 if meaning is PERSON else 1)}

    def matte_of(has_subject: bool) -> Matte:
        plane = planes[has_subject]
        return upsampler.matte(plane, None, IMAGE) if meaning is PERSON else upsampler.matte(None, plane, IMAGE)

    matte = matte_of(True)
    if asked_first:
        assert matte.labels.all()
    kept = matte.copy()
    assert not matte_of(False).labels.any()

    assert kept.alpha.all()
    assert kept.labels.all()
    assert not np.shares_memory(kept.alpha, matte.alpha)
    assert not np.shares_memory(kept.labels, matte.labels)
    assert (kept.classes, kept.palette, kept.subject) == meaning


@pytest.mark.parametrize(("alpha", "labels"), [((32, 48), None), (None, (64, 32)), ((64, 96), None)])
def test_a_plane_of_another_size_is_refused(alpha: tuple[int, int] | None, labels: tuple[int, int] | None) -> None:
    """The message names the engine, the shape received and the one expected."""
    planes = [None if shape is None else np.zeros(shape, np.uint8) for shape in (alpha, labels)]

    with pytest.raises(ValueError, match=r"toy 64x32 fp32: .* has shape .*, expected \(32, 64\)"):
        _upsampler().matte(*planes, IMAGE)


def test_a_matte_of_nothing_is_refused() -> None:
    """Neither an alpha nor a label map."""
    with pytest.raises(ValueError, match="needs an alpha or a label map"):
        _upsampler().matte(None, None, IMAGE)


@pytest.mark.parametrize("meaning", [PERSON, STREET])
def test_upsampling_allocates_nothing(meaning: Meaning) -> None:
    """Memory is flat over 2 000 frames, labels asked for each time."""
    upsampler, plane = _upsampler(meaning), _plane(1)
    tracemalloc.start()
    try:
        for index in range(2000):
            if index == 100:
                before, _ = tracemalloc.get_traced_memory()
                tracemalloc.reset_peak()
            matte = upsampler.matte(plane, None, IMAGE) if meaning is PERSON else upsampler.matte(None, plane, IMAGE)
            assert matte.labels.shape == (HEIGHT, WIDTH)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    # Views come and go; one plane of this frame is 6 144 bytes.
    assert after - before < 1024
    assert peak - before < HEIGHT * WIDTH // 2
