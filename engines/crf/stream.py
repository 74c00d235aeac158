"""The CRF of a stream: an engine's logits in, refined probabilities at the engine's size out."""

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.crf import CrfParams, check_image, check_input, open_solver, params_of
from engines.crf.memory import Memory, shrunk
from engines.crf.occurring import occurring
from engines.errors import EngineError, InputSizeError

if TYPE_CHECKING:
    from engines.crf.fast import FastCrf

__all__ = ["WARM_ITERATIONS", "StreamCrf", "enlarge_softmax"]

WARM_ITERATIONS = 2
"""Steps from the frame before."""
LARGEST = 1e4
"""Logits beyond this say no more."""
STEEPEST = 11.5
"""Log-odds of two classes beyond this are cut: probabilities below 1e-5 are raised to it everywhere (`exact.py`)."""


class StreamCrf:
    """Upsample, softmax, mean field; memory is kept from frame to frame, what it holds is not.

    Raises:
        EngineError: no such method or preset.
        BackendUnavailable: what the method needs is not installed.
    """

    def __init__(self, params: str | CrfParams = "crf-readme", iterations: int = 5, method: str = "exact") -> None:
        self.iterations = iterations
        self.method = method
        self._fast: FastCrf | None = None
        if method == "fast":
            from engines.crf import fast  # numba

            self._fast = fast.FastCrf(params_of(params))
        self._solver = self._fast or open_solver(method, params)
        self._probs = np.empty((0, 0, 0), np.float32)

    def refine(
        self, logits: NDArray[np.floating], tensor_bgr: NDArray[np.uint8], memory: Memory | None = None
    ) -> NDArray[np.float32]:
        """Refine one frame.

        Args:
            logits: (C, h/4, w/4) float32 (float16 is taken too), before softmax.
            tensor_bgr: (h, w, 3) uint8, what the engine saw.
            memory: of this frame's stream: where it has a past, `WARM_ITERATIONS` steps from there. None: every frame
                by itself.

        Returns:
            (C, h, w) float32, sums to 1 over C; a fresh array.

        Raises:
            InputSizeError, EngineError: as `engines.crf.refine`.
        """
        if logits.ndim != 3 or logits.dtype.kind != "f":
            raise InputSizeError(f"CRF logits are {logits.dtype} {logits.shape}, expected float32 (C, h/4, w/4)")
        if not np.isfinite(logits).all():
            raise EngineError("CRF logits hold NaN or infinity, expected finite numbers")
        if self._fast is not None and len(logits) == 2 and min(tensor_bgr.shape[:2]) >= 2 and self.iterations:
            return self._of_two(self._fast, logits, tensor_bgr, memory)
        height, width = tensor_bgr.shape[:2]
        shape = (logits.shape[0], height, width)
        if self._probs.shape != shape:
            self._probs = np.empty(shape, np.float32)
        enlarge_softmax(logits, self._probs)
        check_input(self._probs, tensor_bgr)
        if memory is None:
            return self._solver.mean_field(self._probs, tensor_bgr, self.iterations)
        start = memory.start(tensor_bgr, len(self._probs), lambda *size: shrunk(self._probs, *size))
        steps = self.iterations if start is None else min(self.iterations, WARM_ITERATIONS)
        if self._fast is not None and len(self._probs) > 2:
            memory.classes = occurring(self._probs, None if start is None else memory.classes)
            refined = self._fast.mean_field(self._probs, tensor_bgr, steps, start, memory.classes)
        else:
            refined = self._solver.mean_field(self._probs, tensor_bgr, steps, start)
        memory.keep(refined)
        return refined

    def _of_two(
        self,
        fast: "FastCrf",
        logits: NDArray[np.floating],
        tensor_bgr: NDArray[np.uint8],
        memory: Memory | None,
    ) -> NDArray[np.float32]:
        """In one channel all the way, and without a softmax."""
        from engines.crf.exact import shares

        check_image(tensor_bgr)
        height, width = tensor_bgr.shape[:2]
        log_odds = np.empty((height, width), np.float32)
        enlarge_log_odds(logits, log_odds)
        came = None if memory is None else memory.start(tensor_bgr, 1, lambda *size: _signs_of(logits, *size)[None])
        if came is None:
            s = fast.signs(log_odds, tensor_bgr, self.iterations, None)
        else:
            s = fast.signs(log_odds, tensor_bgr, min(self.iterations, WARM_ITERATIONS), came[0])
        if memory is not None:
            memory.keep(s[None])
        return shares(s)


def enlarge_log_odds(logits: NDArray[np.floating], out: NDArray[np.float32]) -> None:
    """(2, h, w) finite logits to (H, W) log-odds of class 1, enlarged bilinearly, put into `out`."""
    within = np.asarray(np.clip(logits, -LARGEST, LARGEST), np.float32)
    height, width = out.shape
    cv2.resize(within[1] - within[0], (width, height), dst=out, interpolation=cv2.INTER_LINEAR)
    np.clip(out, -STEEPEST, STEEPEST, out=out)


def _signs_of(logits: NDArray[np.floating], height: int, width: int) -> NDArray[np.float32]:
    """(2, h, w) finite logits to (height, width) Q_1 - Q_0; enlarged last, for tanh is dear."""
    within = np.asarray(np.clip(logits, -LARGEST, LARGEST), np.float32)
    small = np.tanh((within[1] - within[0]) / 2)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def enlarge_softmax(logits: NDArray[np.floating], out: NDArray[np.float32]) -> None:
    """(C, h, w) finite logits to (C, H, W) probabilities, enlarged bilinearly before the softmax, put into `out`."""
    height, width = out.shape[1:]
    if len(out) == 2:
        enlarge_log_odds(logits, out[1])
        np.exp(out[1], out=out[1])
        np.add(out[1], 1, out=out[0])
        np.reciprocal(out[0], out=out[0])
        np.subtract(1, out[0], out=out[1])
        return
    within = np.asarray(np.clip(logits, -LARGEST, LARGEST), np.float32)
    for plane, small in zip(out, within, strict=True):
        cv2.resize(small, (width, height), dst=plane, interpolation=cv2.INTER_LINEAR)
    out -= out.max(axis=0)
    np.exp(out, out=out)
    out /= out.sum(axis=0)
