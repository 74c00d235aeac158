"""An engine whose GPU is lost at the tenth picture of every process, and stages that have it as their best backend."""

from collections.abc import Mapping
from typing import ClassVar

from engines import runtime
from engines.runtime.checked import Array
from engines.runtime.onnxruntime_engine import OnnxRuntimeEngine
from pipeline.stages import StageContext
from pipeline.stages.segment import Segment

AT = 10


class LosingEngine(OnnxRuntimeEngine):
    """Answers rightly until then."""

    title: ClassVar[str] = "Losing"
    on_gpu: ClassVar[bool] = True
    n_pictures: ClassVar[int] = -1
    """Opening it runs it once."""

    def _run(self, image_bgr: Array, outputs: Mapping[str, Array]) -> None:
        if type(self).n_pictures == AT:
            raise RuntimeError("cudaStreamSynchronize: CUDA error 700, an illegal memory access was encountered")
        type(self).n_pictures += 1
        super()._run(image_bgr, outputs)


class LosingSegment(Segment):
    """In its process `losing` is the best backend, and ONNX Runtime the one after it."""

    def __init__(self, context: StageContext) -> None:
        table = {"losing": "tests.stream.losing:LosingEngine", "onnxruntime": runtime.BACKENDS["onnxruntime"]}
        runtime.BACKENDS.clear()
        runtime.BACKENDS.update(table)
        super().__init__(context)


class NeverOpens(LosingSegment):
    """The same, and the GPU is lost at the first picture of all."""

    def __init__(self, context: StageContext) -> None:
        super().__init__(context)
        LosingEngine.n_pictures = AT
