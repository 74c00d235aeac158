"""An engine as if on a GPU, whose calls overlap; a stage that has it as its best backend."""

import threading
import time
from typing import Any, ClassVar

from engines import runtime
from engines.runtime.host_device import HostDevice
from engines.runtime.onnxruntime_cuda_engine import OnnxRuntimeCudaEngine
from engines.runtime.onnxruntime_engine import CPU_PROVIDER
from pipeline.stages import StageContext
from pipeline.stages.segment import Segment


class _Late:
    """A mark that is reached after a while, so that frames are under way when something happens."""

    def record(self) -> None:
        """Here."""

    def wait(self) -> None:
        time.sleep(0.01)

    def free(self) -> None:
        """Nothing is held."""


class _Never(_Late):
    """A mark of a device that hangs."""

    def wait(self) -> None:
        threading.Event().wait()


class _LateDevice(HostDevice):
    def mark(self) -> Any:
        return _Late()


class _HangingDevice(HostDevice):
    """Every call that is begun."""

    def mark(self) -> Any:
        return _Never()


class OverlappingEngine(OnnxRuntimeCudaEngine):
    """Its device is host memory."""

    title: ClassVar[str] = "Overlapping"
    provider: ClassVar[str] = CPU_PROVIDER
    place: ClassVar[str] = "cpu"

    @classmethod
    def unavailable_reason(cls) -> str | None:
        return None

    def _opened_device(self) -> HostDevice:
        return _LateDevice()

    def _provider_options(self, device: Any, has_graph: bool) -> dict[str, str]:
        return {}


class HangingEngine(OverlappingEngine):
    """Its device tells no error and never comes back."""

    title: ClassVar[str] = "Hanging"

    def _opened_device(self) -> HostDevice:
        return _HangingDevice()


class OverlappingSegment(Segment):
    """In its process `overlapping` is the only backend."""

    def __init__(self, context: StageContext) -> None:
        runtime.BACKENDS.clear()
        runtime.BACKENDS["overlapping"] = "tests.stream.overlapping:OverlappingEngine"
        super().__init__(context)


class HangingSegment(Segment):
    """In its process `hanging` is the best backend, and ONNX Runtime the one after it."""

    def __init__(self, context: StageContext) -> None:
        table = {"hanging": "tests.stream.overlapping:HangingEngine", "onnxruntime": runtime.BACKENDS["onnxruntime"]}
        runtime.BACKENDS.clear()
        runtime.BACKENDS.update(table)
        super().__init__(context)
