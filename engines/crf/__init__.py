"""Dense CRF: probabilities are pulled to the edges of the image (Krähenbühl and Koltun, 2011).

The energy of a label map is its unaries plus, for every pair of pixels, an appearance kernel and a
smoothness kernel (eq. 3 there); mean field finds it in a few iterations. `explained.py` is the algorithm in
plain numpy. The trap: the strong preset looks convincing and can still move a mask away from the truth, so score
a preset before using it.
"""

import importlib
import importlib.util
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from configs import Options, near_matches
from engines import kernels
from engines.errors import EngineError, InputSizeError

if TYPE_CHECKING:
    from engines.crf.stream import StreamCrf

__all__ = [
    "METHODS",
    "PRESETS",
    "REMEDY",
    "CrfParams",
    "Method",
    "Solver",
    "StreamCrf",
    "check_image",
    "check_input",
    "open_solver",
    "params_of",
    "refine",
    "unavailable_reason",
]


class CrfParams(Options):
    """Weights and widths of the two kernels, with the names of the paper (eq. 3)."""

    w1: float = Field(10.0, ge=0, le=1e6)
    """Weight of the appearance kernel: near and of similar colour."""
    sigma_alpha: float = Field(80.0, gt=0, le=1e6)
    """How near, in pixels."""
    sigma_beta: float = Field(13.0, gt=0, le=1e6)
    """How similar, in steps of 255."""
    w2: float = Field(3.0, ge=0, le=1e6)
    """Weight of the smoothness kernel: near, of whatever colour."""
    sigma_gamma: float = Field(3.0, gt=0, le=1e6)
    """How near, in pixels."""


PRESETS = MappingProxyType(
    {
        # Chen et al., DeepLab, section 4.1 and its released code: cautious, follows fine colour edges.
        "deeplab": CrfParams(w1=4, sigma_alpha=67, sigma_beta=3, w2=3, sigma_gamma=1),
        # The example of pydensecrf's own documentation: strong.
        "crf-readme": CrfParams(w1=10, sigma_alpha=80, sigma_beta=13, w2=3, sigma_gamma=3),
    }
)


class Method(NamedTuple):
    """Where a way to do mean field lives."""

    needs: str
    """The package, none of the stream's own, that it imports."""
    place: str
    """`module:Class`, a `Solver`."""


METHODS = MappingProxyType(
    {
        "reference": Method("pydensecrf", "engines.crf.reference:ReferenceCrf"),
        "exact": Method("numba", "engines.crf.exact:ExactCrf"),
        "fast": Method("numba", "engines.crf.fast:FastCrf"),
        "cuda": Method("triton", "engines.kernels.dense_crf:CudaCrf"),
    }
)
"""reference: the authors' C++. exact: the same, compiled here. fast: few pixels where the classes are sure. cuda: exact
on a GPU."""

REMEDY = "pip install 'segstream[crf]'"


class Solver(Protocol):
    """One way to do mean field; keeps its memory, so one object a stream."""

    def mean_field(
        self,
        probs: NDArray[np.float32],
        image_bgr: NDArray[np.uint8],
        iterations: int,
        start: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """(C, h, w) probabilities and (h, w, 3) image, both checked, to refined probabilities; a fresh array.

        Args:
            start: (C, h, w) probabilities to start from; None: `probs`.
        """
        ...


def open_solver(method: str, params: str | CrfParams) -> Solver:
    """The solver of a method's name.

    Raises:
        EngineError: no such method or preset.
        BackendUnavailable: what it needs is not installed.
    """
    if method not in METHODS:
        raise EngineError(f"no CRF method {method!r}; {near_matches(method, METHODS)}")
    wanted = params_of(params)
    module, _, name = METHODS[method].place.partition(":")
    solver: Solver = getattr(importlib.import_module(module), name)(wanted)
    return solver


def unavailable_reason(method: str = "reference") -> str | None:
    """Why a method cannot be used here, with what would mend it; None when it can. Imports nothing."""
    needed = METHODS[method].needs
    if needed == "triton":
        return kernels.unavailable_reason()
    if importlib.util.find_spec(needed) is None:
        return f"{needed} is not installed; {REMEDY}"
    return None


def refine(
    probs: NDArray[np.float32],
    image_bgr: NDArray[np.uint8],
    *,
    params: str | CrfParams = "crf-readme",
    iterations: int = 5,
    method: str = "exact",
) -> NDArray[np.float32]:
    """Refine class probabilities against an image of the same size.

    Args:
        probs: (C, h, w) float32, at least two classes, sums to 1 over C.
        image_bgr: (h, w, 3) uint8.
        params: a key of `PRESETS`, or own ones.
        iterations: steps of mean field; 0 gives back the probabilities.
        method: a key of `METHODS`.

    Returns:
        (C, h, w) float32, sums to 1 over C; a fresh array, safe to keep.

    Raises:
        InputSizeError: shapes or types that do not fit together, or fewer than two classes.
        EngineError: values that are no probabilities, an unknown preset or method, widths that are too small.
        BackendUnavailable: what the method needs is not installed.
    """
    if iterations < 0:
        raise EngineError(f"{iterations} iterations of mean field; expected 0 or more")
    solver = open_solver(method, params)
    check_input(probs, image_bgr)
    return solver.mean_field(probs, image_bgr, iterations)


def params_of(params: str | CrfParams) -> CrfParams:
    """A preset by its name; parameters pass through.

    Raises:
        EngineError: no such preset.
    """
    if isinstance(params, CrfParams):
        return params
    if params not in PRESETS:
        raise EngineError(f"no CRF preset {params!r}; {near_matches(params, PRESETS)}")
    return PRESETS[params]


def check_input(probs: NDArray[np.float32], image_bgr: NDArray[np.uint8]) -> None:
    """Refuse what mean field would turn into nonsense; see `refine` for what is raised."""
    check_image(image_bgr)
    if probs.ndim != 3 or probs.dtype != np.float32 or probs.shape[1:] != image_bgr.shape[:2]:
        height, width = image_bgr.shape[:2]
        raise InputSizeError(
            f"CRF probs are {probs.dtype} {probs.shape}, expected float32 (C, {height}, {width}), the size of the image"
        )
    if probs.shape[0] < 2:
        raise InputSizeError(f"CRF probs have {probs.shape[0]} class, expected at least 2: add the background's")
    lowest, highest = float(probs.min()), float(probs.max())
    if not (lowest >= -1e-3 and highest <= 1 + 1e-3):  # written so that NaN fails too
        raise EngineError(
            f"CRF probs run from {lowest:g} to {highest:g}, expected 0 to 1: apply softmax to logits first"
        )


def check_image(image_bgr: NDArray[np.uint8]) -> None:
    """Refuse what is no picture; see `refine` for what is raised."""
    if image_bgr.ndim != 3 or image_bgr.shape[2] != 3 or image_bgr.dtype != np.uint8 or not image_bgr.size:
        raise InputSizeError(f"CRF image is {image_bgr.dtype} {image_bgr.shape}, expected uint8 (h, w, 3), h and w > 0")


def __getattr__(name: str) -> Any:
    if name == "StreamCrf":  # comes with OpenCV, which `doctor` must not need
        from engines.crf.stream import StreamCrf

        return StreamCrf
    raise AttributeError(f"module 'engines.crf' has no attribute {name!r}")
