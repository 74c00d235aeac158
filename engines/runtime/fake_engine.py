"""An engine without a network, for tests and benches: it finds the shape the `synthetic` source paints.

What it returns can be calculated by hand, so a whole stream can be checked pixel by pixel. Named
`fake`, `fake@WxH`, with options after a question mark: `fake@512x288?work_ms=20&fail_at=100`.
"""

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl

import cv2
from pydantic import Field, ValidationError

from configs import Options, near_matches
from engines.errors import DeviceLost, EngineError, EngineNotFound
from engines.runtime.checked import Array, CheckedEngine
from engines.size import DEFAULT_SIZE, Size
from engines.spec import LOGITS_STRIDE, EngineSpec, InputSpec, OutputSpec, ResizeRule

__all__ = ["SHAPE_BGR", "SHAPE_TOLERANCE", "FakeEngine", "FakeOptions", "fake_spec"]

SHAPE_BGR = (200, 40, 220)
"""Colour of the mover; nothing else in a synthetic frame may come near it."""

SHAPE_TOLERANCE = 40
"""A pixel is of the shape when no channel is further than this from SHAPE_BGR: wide enough for a lossy
codec, and narrow enough that an edge pixel mixed half with the background is not of the shape."""

LOGIT = 6.0
"""Of the class that was found; minus this of the other: probs of 0.999994."""


class FakeOptions(Options):
    """What may follow the question mark."""

    work_ms: float = Field(0.0, ge=0)
    """Sleeps this long in each inference, as a slow network would keep the worker waiting."""
    fail_at: int | None = Field(None, ge=0)
    """The inference, counted from 0, that raises EngineError instead."""
    lose_at: int | None = Field(None, ge=0)
    """The inference, counted from 0 after each start, that raises DeviceLost, as a GPU would that fails for good."""
    max_batch: int = Field(1, ge=1, le=64)
    """Pictures that one inference takes at most, at the price of one, as a GPU nearly does."""
    resize: ResizeRule = ResizeRule.LETTERBOX
    """How frames are brought to the engine's size."""


def fake_spec(text: str) -> EngineSpec:
    """`fake[@WxH][?key=value&...]` as a spec; the options travel in its path.

    Raises:
        EngineNotFound: a size that is not a multiple of 4, or an unknown option.
    """
    head, _, query = text.partition("?")
    _, _, size = head.partition("@")
    try:
        width, height = Size.from_text(size, multiple_of=LOGITS_STRIDE) if size else DEFAULT_SIZE
    except ValueError as error:
        raise EngineNotFound(f"engine {text!r}: {error}") from None
    options = _options(text, query)
    blue, green, red = SHAPE_BGR
    return EngineSpec(
        name="fake",
        path=Path(f"fake?{query}" if query else "fake"),
        input=InputSpec(height, width, options.resize),
        output=OutputSpec(("background", "shape"), 1),
        palette=((0, 0, 0), (red, green, blue)),
        precision="exact",
        any_batch=options.max_batch > 1,
    )


class FakeEngine(CheckedEngine):
    """No network: finds the shape that the synthetic source paints.

    See `CheckedEngine` for the arguments.
    """

    title: ClassVar[str] = "fake"
    usual_batch: ClassVar[int] = 64

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """Never: it needs nothing."""
        return None

    def _open(self) -> None:
        self._options = _options(str(self.spec.path), str(self.spec.path).partition("?")[2])
        self.max_batch = min(self.max_batch, self._options.max_batch)
        self._turn = threading.Lock()
        height, width = self.spec.input.height, self.spec.input.width
        self._alpha = cv2.inRange(self._blank_image()[0], _LOW, _HIGH)
        self._quarter = cv2.resize(self._alpha, (width // LOGITS_STRIDE, height // LOGITS_STRIDE))
        self._n_inferences = 0
        self.backend = f"{self.title}, {self._options.work_ms:g} ms" if self._options.work_ms else self.title

    def _run(self, image_bgr: Array, outputs: Mapping[str, Array]) -> None:
        with self._turn:
            if self._n_inferences == self._options.fail_at:
                raise EngineError(f"{self.spec.label} fails at inference {self._n_inferences}, as asked for")
            if self._n_inferences == self._options.lose_at:
                raise DeviceLost(f"{self.spec.label} loses its GPU at inference {self._n_inferences}, as asked for")
            self._n_inferences += 1
            if self._options.work_ms:
                time.sleep(self._options.work_ms / 1e3)
            for index in range(len(image_bgr)):
                self._find(index, image_bgr, outputs)

    def _find(self, index: int, image_bgr: Array, outputs: Mapping[str, Array]) -> None:
        cv2.inRange(_mat(image_bgr, index), _LOW, _HIGH, dst=self._alpha)
        if "alpha" in outputs:
            outputs["alpha"][index] = self._alpha
        if "labels" in outputs:
            cv2.threshold(self._alpha, 127, 1, cv2.THRESH_BINARY, dst=_mat(outputs["labels"], index))
        if "logits" in outputs:
            self._write_logits(outputs["logits"][index])

    def _write_logits(self, logits: Array) -> None:
        background, shape = logits
        size = (self._quarter.shape[1], self._quarter.shape[0])
        cv2.resize(self._alpha, size, dst=self._quarter, interpolation=cv2.INTER_AREA)
        shape[...] = self._quarter
        shape *= 2 * LOGIT / 255
        shape -= LOGIT
        background[...] = 0
        background -= shape

    def _close(self) -> None:
        self.backend = self.title


_LOW = tuple(max(0, value - SHAPE_TOLERANCE) for value in SHAPE_BGR)
_HIGH = tuple(min(255, value + SHAPE_TOLERANCE) for value in SHAPE_BGR)


def _mat(batch: Array, index: int) -> Any:
    return batch[index]  # OpenCV knows no batches


def _options(text: str, query: str) -> FakeOptions:
    pairs = dict(parse_qsl(query, keep_blank_values=True))
    for key in pairs:
        if key not in FakeOptions.model_fields:
            raise EngineNotFound(
                f"engine {text!r}: unknown option {key!r}; {near_matches(key, FakeOptions.model_fields)}"
            )
    try:
        return FakeOptions.model_validate(pairs)
    except ValidationError as error:
        first = error.errors()[0]
        raise EngineNotFound(
            f"engine {text!r}: {first['loc'][0]}: {first['msg']} (received {first['input']!r})"
        ) from error
