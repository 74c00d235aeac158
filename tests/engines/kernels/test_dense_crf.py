"""The dense CRF of the GPU, interpreted, against the plain algorithm and pydensecrf's answers on file."""

from typing import Any

import numpy as np
import pytest
import torch

from engines import kernels
from engines.crf import PRESETS, CrfParams, explained, refine
from engines.errors import BackendUnavailable, EngineError, InputSizeError
from engines.kernels.dense_crf import CudaCrf
from tests.engines.crf.golden import CASES, PLACE, SIZE
from tests.engines.crf.scenes import disc, noise


@pytest.mark.parametrize(("n_classes", "preset", "iterations"), CASES)
def test_cuda_is_what_pydensecrf_said(n_classes: int, preset: str, iterations: int) -> None:
    """Its answers are on file; the bounds are those of `exact`."""
    probs, image_bgr = disc(*SIZE, n_classes)

    refined = refine(probs, image_bgr, params=preset, iterations=iterations, method="cuda")

    with np.load(PLACE) as answers:
        said = answers[f"{n_classes}-{preset}-{iterations}"]
    # pydensecrf itself is up to 2e-3 from the float64 computation with several classes.
    np.testing.assert_allclose(refined, said, atol=5e-3 if n_classes > 2 else 1e-3)
    assert (refined.argmax(axis=0) == said.argmax(axis=0)).mean() >= 0.9999


@pytest.mark.parametrize(("n_classes", "size"), [(2, (27, 33)), (21, (24, 31))])
def test_cuda_is_the_plain_algorithm(n_classes: int, size: tuple[int, int]) -> None:
    """Two classes and twenty-one, odd sizes: float32 changes no label, and Q by less than 5e-4."""
    probs, image_bgr = disc(*size, n_classes)

    refined = refine(probs, image_bgr, params="deeplab", method="cuda")

    plain = explained.mean_field(probs, image_bgr, PRESETS["deeplab"], 5)
    np.testing.assert_allclose(refined, plain, atol=5e-4)
    assert np.array_equal(refined.argmax(axis=0), plain.argmax(axis=0))
    assert np.abs(refined - probs).max() > 0.1, "the CRF had something to do"


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (1, 19), (3, 5)])
def test_the_smallest_images(shape: tuple[int, int]) -> None:
    """One pixel, as many pixels as classes, one row: as the plain algorithm has them."""
    probs, image_bgr = noise(*shape, 2)

    refined = refine(probs, image_bgr, method="cuda")

    np.testing.assert_allclose(refined, explained.mean_field(probs, image_bgr, PRESETS["crf-readme"], 5), atol=5e-4)


def test_a_flat_picture_puts_nearly_all_pixels_on_one_point() -> None:
    """A point with hundreds of pixels is added up piece by piece, to the same sum."""
    probs, _ = disc(24, 30, 3)
    image_bgr = np.full((24, 30, 3), 128, np.uint8)

    refined = refine(probs, image_bgr, method="cuda")

    np.testing.assert_allclose(refined, explained.mean_field(probs, image_bgr, PRESETS["crf-readme"], 5), atol=5e-4)


def test_one_solver_gives_every_frame_the_same_bits_again() -> None:
    """Sums have a fixed order, and nothing of the frame before is left, whatever its size."""
    solver = CudaCrf(PRESETS["deeplab"])
    frames = [disc(20, 26, 3), noise(12, 16, 2), disc(20, 26, 3)]

    first, _, again = [solver.mean_field(probs, image_bgr, 2) for probs, image_bgr in frames]

    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(solver.mean_field(*frames[0], 0), frames[0][0])


def test_steps_from_a_start_go_on_where_others_ended() -> None:
    """One step and then another are two."""
    solver = CudaCrf(PRESETS["deeplab"])
    probs, image_bgr = disc(14, 18, 3)

    gone_on = solver.mean_field(probs, image_bgr, 1, solver.mean_field(probs, image_bgr, 1))

    np.testing.assert_allclose(gone_on, solver.mean_field(probs, image_bgr, 2), atol=1e-4)


@pytest.mark.parametrize("width", [{"sigma_beta": 0.01}, {"sigma_alpha": 1e-5}, {"sigma_gamma": 1e-12}])
def test_widths_without_names_are_refused(width: dict[str, Any]) -> None:
    """So narrow a kernel would have more lattice points than a key can name: said before anything is built."""
    probs, image_bgr = disc(40, 52, 2)

    with pytest.raises(EngineError, match=rf"{next(iter(width))}.* bits of 63; make them wider"):
        refine(probs, image_bgr, params=CrfParams(**width), method="cuda")


def test_a_tensor_that_does_not_fit_is_refused() -> None:
    """What is given on the device is checked like the rest."""
    probs, image_bgr = disc(12, 16, 2)
    solver = CudaCrf(PRESETS["deeplab"])

    with pytest.raises(InputSizeError, match=r"image is uint8 \(12, 15, 3\), expected uint8 \(12, 16, 3\)"):
        solver.mean_field(probs, np.ascontiguousarray(image_bgr[:, :15]), 1)


def test_without_a_gpu_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No driver: one line, before any kernel is compiled."""
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    monkeypatch.setattr(kernels, "nvidia_reason", lambda: "no NVIDIA driver")

    with pytest.raises(BackendUnavailable, match=r"no NVIDIA driver: the kernels run on a GPU"):
        CudaCrf(PRESETS["deeplab"])


def test_the_gpu_is_asked_of_torch_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver beside a torch for the CPU: the message says which torch is needed."""
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    monkeypatch.setattr(kernels, "nvidia_reason", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(BackendUnavailable, match="sees no GPU: install its CUDA build"):
        CudaCrf(PRESETS["deeplab"])
