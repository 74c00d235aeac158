"""The compiled CRF against the plain one, pydensecrf's answers on file, and what it refuses."""

import importlib.util
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.crf import PRESETS, CrfParams, explained, refine
from engines.errors import EngineError
from tests.engines.crf.golden import CASES, PLACE, SIZE
from tests.engines.crf.scenes import disc, noise

pytestmark = [
    pytest.mark.crf,
    pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="needs numba (pip install 'segstream[crf]')"),
    # The first call of each kernel compiles it, which takes a while on a machine that never did.
    pytest.mark.timeout(600),
]

NEAR = 0.002
"""In the mean: `fast` lets a pixel alone that is certain after two steps."""


def test_the_lattice_is_nearly_the_sum_over_all_pairs() -> None:
    """What everything stands on: normalised, the lattice's filter is the Gaussian one to a few per cent."""
    probs, image_bgr = disc(24, 24, 2)
    y, x = np.mgrid[:24, :24].reshape(2, -1)
    features = np.hstack([np.stack([x, y], axis=1) / 8.0, image_bgr.reshape(-1, 3) / 30.0])
    values = np.stack([probs[1].ravel().astype(float), np.ones(24 * 24)], axis=1)

    exact = explained.all_pairs(features, values)
    lattice = explained.PlainLattice(features).filtered(values)

    difference = lattice[:, 0] / lattice[:, 1] - exact[:, 0] / exact[:, 1]
    assert np.abs(difference).mean() < 0.01
    assert np.abs(difference).max() < 0.06
    assert np.ptp(values[:, 0]) > 0.5, "the filter had something to smooth"


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("n_classes", [2, 3, 11])
def test_exact_is_the_plain_algorithm(n_classes: int, preset: str) -> None:
    """float32 and all its haste change next to nothing, and no label."""
    probs, image_bgr = disc(40, 52, n_classes)

    refined = refine(probs, image_bgr, params=preset, method="exact")

    plain = explained.mean_field(probs, image_bgr, PRESETS[preset], 5)
    # Where classes are level, mean field doubles a difference with every step: a single pixel may be off further, and
    # of eleven classes the order of two may change.
    assert np.abs(refined - plain).mean() < 1e-4
    np.testing.assert_allclose(refined, plain, atol=5e-4 if n_classes == 2 else 2e-2)
    assert np.count_nonzero(refined.argmax(axis=0) != plain.argmax(axis=0)) <= (0 if n_classes == 2 else 2)
    assert np.abs(refined - probs).max() > 0.1, "the CRF had something to do"


@pytest.mark.parametrize(("n_classes", "preset", "iterations"), CASES)
def test_exact_is_what_pydensecrf_said(n_classes: int, preset: str, iterations: int) -> None:
    """Its answers are on file, so that this holds where it is not installed."""
    probs, image_bgr = disc(*SIZE, n_classes)

    refined = refine(probs, image_bgr, params=preset, iterations=iterations, method="exact")

    with np.load(PLACE) as answers:
        said = answers[f"{n_classes}-{preset}-{iterations}"]
    # pydensecrf itself is up to 2e-3 from the float64 computation with several classes.
    np.testing.assert_allclose(refined, said, atol=5e-3 if n_classes > 2 else 1e-3)
    assert (refined.argmax(axis=0) == said.argmax(axis=0)).mean() >= 0.9999


def test_tables_grow_when_every_pixel_is_a_stranger() -> None:
    """Noise puts each pixel into a simplex of its own: many times more than the tables begin with."""
    probs, image_bgr = noise(64, 80, 2)

    refined = refine(probs, image_bgr, params="deeplab", method="exact")

    np.testing.assert_allclose(refined, explained.mean_field(probs, image_bgr, PRESETS["deeplab"], 5), atol=5e-4)


def test_a_solver_forgets_the_frame_before() -> None:
    """Memory is kept between frames of any size, what it held is not."""
    from engines.crf.exact import ExactCrf
    from engines.crf.fast import FastCrf

    for solver in (ExactCrf(PRESETS["deeplab"]), FastCrf(PRESETS["deeplab"])):
        frames = [noise(64, 80, 2), disc(64, 80, 2), disc(40, 52, 2), disc(64, 80, 3)]
        first = [solver.mean_field(probs, image_bgr, 3) for probs, image_bgr in frames]
        again = [solver.mean_field(probs, image_bgr, 3) for probs, image_bgr in reversed(frames)]

        for one, other in zip(first, reversed(again), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("n_classes", [2, 5])
def test_fast_agrees_with_exact(n_classes: int, preset: str) -> None:
    """Half the resolution, the contour at full: nearly every label is the same, on a small and noisy picture too."""
    probs, image_bgr = disc(120, 161, n_classes)

    fast = refine(probs, image_bgr, params=preset, method="fast")

    exact = refine(probs, image_bgr, params=preset, method="exact")
    assert (fast.argmax(axis=0) == exact.argmax(axis=0)).mean() >= 0.985
    assert (probs.argmax(axis=0) == exact.argmax(axis=0)).mean() < 0.99, "the CRF had something to do"
    np.testing.assert_allclose(fast.sum(axis=0), 1, atol=1e-4)


@pytest.mark.parametrize("method", ["exact", "fast"])
def test_classes_have_no_order(method: str) -> None:
    """The classes in another order give the same probabilities in that order."""
    probs, image_bgr = disc(48, 64, 5)
    order = [3, 0, 4, 2, 1]

    one = refine(probs, image_bgr, method=method)[order]
    other = refine(np.ascontiguousarray(probs[order]), image_bgr, method=method)

    np.testing.assert_allclose(one, other, atol=1e-4)


def test_without_colours_the_two_kernels_only_smooth() -> None:
    """A grey image of one value has no edges: a lone wrong pixel is smoothed away, a half stays a half."""
    probs = np.full((2, 40, 48), 0.2, np.float32)
    probs[1] = 0.8
    probs[:, :, 24:] = probs[::-1, :, 24:]
    probs[:, 20, 10] = (0.9, 0.1)
    image_bgr = np.full((40, 48, 3), 128, np.uint8)

    refined = refine(probs, image_bgr, params=CrfParams(w1=0, w2=3, sigma_gamma=2), method="exact")

    labels = refined.argmax(axis=0)
    assert labels[20, 10] == 1
    assert (labels[:, :22] == 1).all()
    assert (labels[:, 26:] == 0).all()


@pytest.mark.parametrize("method", ["exact", "fast"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 37), (37, 1), (2, 2), (3, 5)])
def test_the_smallest_images(shape: tuple[int, int], method: str) -> None:
    """One pixel, one row, one column: right answers, as the plain algorithm gives them."""
    random = np.random.default_rng(1)
    one = random.random(shape).astype(np.float32)
    image_bgr = random.integers(0, 256, (*shape, 3)).astype(np.uint8)

    refined = refine(np.stack([1 - one, one]), image_bgr, method=method)

    assert refined.shape == (2, *shape)
    assert np.isfinite(refined).all()
    if method == "exact":
        plain = explained.mean_field(np.stack([1 - one, one]), image_bgr, PRESETS["crf-readme"], 5)
        np.testing.assert_allclose(refined, plain, atol=5e-4)


def test_as_many_classes_as_a_byte_holds() -> None:
    """255 classes are refined like two."""
    probs, image_bgr = disc(16, 20, 255)

    refined = refine(probs, image_bgr, method="exact")

    plain = explained.mean_field(probs, image_bgr, PRESETS["crf-readme"], 5)
    np.testing.assert_allclose(refined, plain, atol=2e-2)


@pytest.mark.parametrize("method", ["exact", "fast"])
def test_a_scene_may_lie_elsewhere_in_the_frame(method: str) -> None:
    """Two crops of one picture: where both show it, and their borders are far, the labels are the same."""
    probs, image_bgr = disc(72, 96, 2)

    def refined(top: int, left: int) -> NDArray[np.float32]:
        part = slice(top, top + 64), slice(left, left + 86)
        return refine(
            np.ascontiguousarray(probs[:, *part]),
            np.ascontiguousarray(image_bgr[part]),
            params="deeplab",
            method=method,
        )

    here, there = refined(0, 0)[:, 8:, 10:].argmax(axis=0), refined(8, 10)[:, :56, :76].argmax(axis=0)

    assert here.shape == there.shape
    assert (here[8:-8, 8:-8] != there[8:-8, 8:-8]).mean() < 0.005


def test_classes_that_hardly_occur_take_no_part() -> None:
    """They come out as 0; the others are what they are without them."""
    from engines.crf.fast import FastCrf

    probs, image_bgr = disc(40, 52, 4)
    probs = np.concatenate([probs * np.float32(0.9999), np.full((1, 40, 52), 1e-4, np.float32)])

    refined = FastCrf(PRESETS["deeplab"]).mean_field(probs, image_bgr, 5)

    assert not refined[4].any()
    exact = refine(probs, image_bgr, params="deeplab", method="exact")
    np.testing.assert_array_equal(refined.argmax(axis=0), exact.argmax(axis=0))
    assert np.abs(refined[:4] - exact[:4]).mean() < NEAR


def test_two_classes_that_occur_among_many_are_refined_as_by_themselves() -> None:
    """The others cost nothing and come out as 0; a pixel that is certain early is let alone."""
    pair, image_bgr = disc(64, 80, 2)
    probs = np.full((6, 64, 80), 2e-4, np.float32)
    probs[[1, 4]] = pair * np.float32(1 - 4 * 2e-4)

    refined = refine(probs, image_bgr, params="deeplab", method="fast")

    exact = refine(pair, image_bgr, params="deeplab", method="exact")
    np.testing.assert_array_equal(refined[[1, 4]].argmax(axis=0), exact.argmax(axis=0))
    assert np.abs(refined[[1, 4]] - exact).mean() < NEAR
    assert not refined[[0, 2, 3, 5]].any()


def test_a_small_object_is_no_class_that_hardly_occurs() -> None:
    """A class that wins a few pixels takes part, however small its mean."""
    probs, image_bgr = disc(64, 80, 3)
    sure = np.zeros_like(probs)
    sure[:, 2:5, 2:5] = np.array([0.005, 0.99, 0.005], np.float32)[:, None, None]
    elsewhere = np.array([0.9995, 0.0001, 0.0004], np.float32)[:, None, None]
    probs = np.ascontiguousarray(np.where(sure.any(axis=0), sure, elsewhere), np.float32)
    image_bgr[2:5, 2:5] = (0, 0, 255)

    exact, fast = (refine(probs, image_bgr, params="deeplab", method=method) for method in ("exact", "fast"))

    assert probs[1].mean() < 0.002
    assert (exact.argmax(axis=0) == 1).sum() == 9
    np.testing.assert_array_equal(fast.argmax(axis=0), exact.argmax(axis=0))


def test_after_a_refusal_the_size_before_still_works() -> None:
    """What a solver keeps of a size is there whole or not at all."""
    from engines.crf.exact import ExactCrf

    solver = ExactCrf(CrfParams(sigma_gamma=2e-4))
    small, large = disc(8, 8, 2), disc(40, 52, 2)
    before = solver.mean_field(*small, 2)

    for _ in range(2):
        with pytest.raises(EngineError, match="sigma_gamma"):
            solver.mean_field(*large, 2)

    np.testing.assert_array_equal(solver.mean_field(*small, 2), before)


@pytest.mark.parametrize("method", ["exact", "fast"])
@pytest.mark.parametrize("width", [{"sigma_beta": 0.05}, {"sigma_alpha": 0.001}, {"sigma_gamma": 1e-7}])
def test_widths_without_names_are_refused(width: dict[str, Any], method: str) -> None:
    """So narrow a kernel would have more lattice points than the tables can name: said before anything is written."""
    probs, image_bgr = disc(40, 52, 2)

    with pytest.raises(EngineError, match="make them wider"):
        refine(probs, image_bgr, params=CrfParams(**width), method=method)


def test_very_wide_kernels_are_taken() -> None:
    """At the other end everything is near everything: one answer for all."""
    probs, image_bgr = disc(40, 52, 2)

    refined = refine(probs, image_bgr, params=CrfParams(w1=50, sigma_alpha=1e4, sigma_beta=1e4), method="exact")

    labels: NDArray[np.int64] = refined.argmax(axis=0)
    assert len(np.unique(labels)) == 1
