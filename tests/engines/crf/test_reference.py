"""The reference CRF against pydensecrf called directly, and what it refuses."""

import importlib.util
from functools import partial
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engines import crf
from engines.crf import PRESETS, CrfParams, params_of, unavailable_reason
from engines.crf.stream import StreamCrf
from engines.errors import BackendUnavailable, EngineError, InputSizeError

HEIGHT, WIDTH = 48, 64

refine = partial(crf.refine, method="reference")

needs_pydensecrf = pytest.mark.skipif(
    importlib.util.find_spec("pydensecrf") is None, reason="needs pydensecrf (pip install 'segstream[crf]')"
)


@pytest.fixture
def image_bgr() -> NDArray[np.uint8]:
    """A bright disc on a dark ground, a little noise."""
    image = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    cv2.circle(image, (32, 24), 14, (210, 180, 190), -1)
    noise = np.random.default_rng(3).integers(-6, 7, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def _probs(n_classes: int = 2) -> NDArray[np.float32]:
    """A disc that is found too small and blurred, the rest split between the other classes."""
    found = np.zeros((HEIGHT, WIDTH), np.float32)
    cv2.circle(found, (32, 24), 11, 0.9, -1)
    found = np.asarray(cv2.GaussianBlur(found, (0, 0), 3), np.float32)
    rest = (1 - found) / (n_classes - 1)
    return np.stack([rest] * (n_classes - 1) + [found]).astype(np.float32)


def _direct(probs: NDArray[np.float32], image_bgr: NDArray[np.uint8], params: CrfParams, iterations: int) -> Any:
    from pydensecrf import densecrf
    from pydensecrf.utils import unary_from_softmax

    n_classes, height, width = probs.shape
    crf = densecrf.DenseCRF2D(width, height, n_classes)
    crf.setUnaryEnergy(unary_from_softmax(probs))
    crf.addPairwiseGaussian(sxy=(params.sigma_gamma,) * 2, compat=params.w2)
    crf.addPairwiseBilateral(
        sxy=(params.sigma_alpha,) * 2, srgb=(params.sigma_beta,) * 3, rgbim=image_bgr.copy(), compat=params.w1
    )
    return np.array(crf.inference(iterations)).reshape(probs.shape)


@needs_pydensecrf
@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("n_classes", [2, 5])
def test_the_reference_is_pydensecrf(image_bgr: NDArray[np.uint8], preset: str, n_classes: int) -> None:
    """`refine` gives what the library gives when it is called as its documentation says."""
    probs = _probs(n_classes)

    refined = refine(probs, image_bgr, params=preset, iterations=5)

    assert refined.dtype == np.float32
    # The same C++ with the same numbers: only the logarithm of the unaries is taken in another order.
    np.testing.assert_allclose(refined, _direct(probs, image_bgr, PRESETS[preset], 5), atol=1e-5)
    np.testing.assert_allclose(refined.sum(axis=0), 1, atol=1e-5)


@needs_pydensecrf
def test_a_mask_is_pulled_to_the_edge_of_the_image(image_bgr: NDArray[np.uint8]) -> None:
    """A disc that was found too small grows to the disc that is there."""
    truth = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.circle(truth, (32, 24), 14, 1, -1)
    before = _probs()[1] > 0.5

    after = refine(_probs(), image_bgr)[1] > 0.5

    def iou(mask: NDArray[np.bool_]) -> float:
        return float((mask & (truth == 1)).sum() / (mask | (truth == 1)).sum())

    assert iou(before) < 0.8
    assert iou(after) > 0.95


@needs_pydensecrf
def test_no_iterations_change_nothing(image_bgr: NDArray[np.uint8]) -> None:
    """Zero steps of mean field give the probabilities back, in an array of their own."""
    probs = _probs()

    refined = refine(probs, image_bgr, iterations=0)

    assert np.array_equal(refined, probs)
    assert not np.shares_memory(refined, probs)


@needs_pydensecrf
def test_own_parameters_count(image_bgr: NDArray[np.uint8]) -> None:
    """Both kernels at weight 0 leave the labels as they were; the appearance kernel changes them."""
    off = CrfParams(w1=0, w2=0)

    assert np.array_equal(refine(_probs(), image_bgr, params=off).argmax(axis=0), _probs().argmax(axis=0))
    assert not np.array_equal(refine(_probs(), image_bgr).argmax(axis=0), _probs().argmax(axis=0))


@needs_pydensecrf
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_crf_of_a_stream_takes_logits(image_bgr: NDArray[np.uint8], dtype: str) -> None:
    """Logits at a quarter of the size are upsampled, turned into probabilities and refined, frame after frame."""
    crf = StreamCrf("deeplab", iterations=3, method="reference")
    small = cv2.resize(_probs()[1], (WIDTH // 4, HEIGHT // 4), interpolation=cv2.INTER_AREA)
    logits = np.stack([np.zeros_like(small), np.log(small + 1e-3) - np.log(1 - small + 1e-3)]).astype(dtype)

    first = crf.refine(logits, image_bgr)
    crf.refine(-logits, image_bgr)
    again = crf.refine(logits, image_bgr)

    up = np.stack([cv2.resize(plane.astype(np.float32), (WIDTH, HEIGHT)) for plane in logits])
    probs = np.exp(up) / np.exp(up).sum(axis=0)
    np.testing.assert_allclose(first, _direct(probs, image_bgr, PRESETS["deeplab"], 3), atol=1e-5)
    assert np.array_equal(first, again)


@pytest.mark.parametrize(
    ("probs", "error", "told"),
    [
        (_probs()[:, :-1], InputSizeError, "the size of the image"),
        (_probs().astype(np.float64), InputSizeError, "expected float32"),
        (_probs()[0], InputSizeError, "expected float32"),
        (np.ones((1, HEIGHT, WIDTH), np.float32), InputSizeError, "at least 2"),
        (_probs() * np.float32("nan"), EngineError, "nan"),
        (_probs() * 9 - 4, EngineError, "softmax"),
    ],
    ids=["size", "type", "axes", "one class", "NaN", "logits"],
)
def test_what_is_no_probability_is_refused(
    image_bgr: NDArray[np.uint8], probs: Any, error: type[Exception], told: str
) -> None:
    """The error says what was received and what was expected, before the C++ sees it."""
    with pytest.raises(error, match=told):
        refine(probs, image_bgr)


def test_an_image_of_another_kind_is_refused(image_bgr: NDArray[np.uint8]) -> None:
    """The image must be (h, w, 3) uint8."""
    with pytest.raises(InputSizeError, match="CRF image"):
        refine(_probs(), image_bgr[..., 0])


@needs_pydensecrf
def test_broken_logits_are_refused(image_bgr: NDArray[np.uint8]) -> None:
    """A NaN in the logits is named, not passed on as a mask."""
    logits = np.zeros((2, HEIGHT // 4, WIDTH // 4), np.float32)
    logits[1, 3, 3] = np.nan

    with pytest.raises(EngineError, match="NaN"):
        StreamCrf(method="reference").refine(logits, image_bgr)


def test_unknown_presets_and_methods_are_told_with_what_is_near(image_bgr: NDArray[np.uint8]) -> None:
    """A misspelt word is answered with the right one."""
    with pytest.raises(EngineError, match="did you mean 'deeplab'"):
        params_of("deeplap")
    with pytest.raises(EngineError, match="did you mean 'reference'"):
        refine(_probs(), image_bgr, method="referense")
    with pytest.raises(EngineError, match="-1 iterations"):
        refine(_probs(), image_bgr, iterations=-1)


def test_without_pydensecrf_the_command_that_installs_it_is_told(
    image_bgr: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra is named, so one command mends it."""
    monkeypatch.setitem(__import__("sys").modules, "pydensecrf", None)

    with pytest.raises(BackendUnavailable, match=r"pip install 'segstream\[crf\]'"):
        refine(_probs(), image_bgr)
    with pytest.raises(BackendUnavailable, match="segstream"):
        StreamCrf(method="reference")


def test_the_reason_is_told_without_importing(monkeypatch: pytest.MonkeyPatch) -> None:
    """`list` and `doctor` ask for the reason; None means that it works."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    assert "pip install" in (unavailable_reason() or "")
