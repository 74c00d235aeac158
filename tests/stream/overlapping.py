"""An engine as if on a GPU, whose calls overlap; a stage that has it as its best backend."""

from typing import Any, ClassVar

from engines import runtime
from engines.runtime.host_device import HostDevice
from engines.runtime.onnxruntime_cuda_engine import OnnxRuntimeCudaEngine
from engines.runtime.onnxruntime_engine import CPU_PROVIDER
from pipeline.stages import StageContext
from pipeline.stages.segment import Segment


class OverlappingEngine(OnnxRuntimeCudaEngine):
    """Its device is host memory."""

    title: ClassVar[str] = "Overlapping"
    provider: ClassVar[str] = CPU_PROVIDER
    place: ClassVar[str] = "cpu"

    @classmethod
    def unavailable_reason(cls) -> str | None:
        return None

    def _opened_device(self) -> HostDevice:
        return HostDevice()

    def _provider_options(self, device: Any, has_graph: bool) -> dict[str, str]:
        return {}


class OverlappingSegment(Segment):
    """In its process `overlapping` is the only backend."""

    def __init__(self, context: StageContext) -> None:
        runtime.BACKENDS.clear()
        runtime.BACKENDS["overlapping"] = "tests.stream.overlapping:OverlappingEngine"
        super().__init__(context)
