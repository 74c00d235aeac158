"""What should come out: the same pictures through the same graph, in this process, without a corridor.

ONNX Runtime in float32 does the inference, whatever the stream uses. A label map is made twice: as P2 has it (logits
brought to the picture's size, then the class), and as render shows it (alpha or labels brought to that size). The
trap: the two differ. Of an engine with a subject by less than 0.001 points, of one with labels alone by a tenth of
a point, because class indices have no in-between; so a stream is compared with each by its own rule.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from engines.evaluation.segmenters import brought_back, label_map_of
from engines.geometry import fit, tensor_of
from engines.runtime import Engine, open_engine
from engines.spec import INPUT_NAME, EngineSpec
from pipeline.frame import StreamFormat
from pipeline.matte import MatteUpsampler

__all__ = ["Expected", "Reference", "p2_label_map", "tensor_of"]

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Expected:
    """What a picture should become; fresh arrays."""

    tensor_bgr: Image
    """(h, w, 3), engine size."""
    label_map: Image
    """(height, width) of the picture, by P2."""
    shown: Image
    """(height, width), by render's rule."""


class Reference(AbstractContextManager["Reference"]):
    """The graph in one process. Opened with `with`."""

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec
        # The fake engine is not a graph; nothing else can run it.
        backend = "onnxruntime" if spec.sha256 else "auto"
        self._engine: Engine = open_engine(spec, backend=backend, precision_hint="f32")
        self._outputs = {
            name: np.zeros(spec.output_shape(name), spec.output_dtype(name)) for name in self._engine.outputs
        }

    @property
    def title(self) -> str:
        """`ONNX Runtime 1.31 fp32, 2 threads`."""
        return self._engine.backend

    def __enter__(self) -> Self:
        self._engine.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.__exit__(kind, error, trace)

    def expected(self, image_bgr: Image) -> Expected:
        """(height, width, 3) -> everything that is compared."""
        height, width = image_bgr.shape[:2]
        tensor_bgr = tensor_of(image_bgr, self.spec.input)
        label_map = self.label_map(tensor_bgr, height, width)
        format = StreamFormat(width, height, Fraction(1), is_live=False, source="")
        planes = {name: self._outputs[name][0] for name in ("alpha", "labels") if name in self._outputs}
        if "alpha" in planes and len(self.spec.output.classes) == 2:
            planes.pop("labels", None)  # as in the stream, where the alpha stands for both
        matte = MatteUpsampler(format, self.spec).matte(planes.get("alpha"), planes.get("labels"), image_bgr)
        return Expected(tensor_bgr, label_map, matte.labels)

    def label_map(self, tensor_bgr: Image, height: int, width: int) -> Image:
        """By P2, of a tensor of engine size."""
        self._engine.infer({INPUT_NAME: np.ascontiguousarray(tensor_bgr)[None]}, self._outputs)
        return p2_label_map(self._outputs["logits"][0], self.spec, height, width)


def p2_label_map(logits: NDArray[np.float32], spec: EngineSpec, height: int, width: int) -> Image:
    """Logits (C, h/4, w/4) -> (height, width) of the frame they are of."""
    geometry = fit(height, width, spec.input)
    return label_map_of(brought_back(logits, (spec.input.height, spec.input.width), geometry, height, width))
