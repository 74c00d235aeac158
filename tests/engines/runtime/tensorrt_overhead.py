"""How much time does our TensorRT backend spend around TensorRT, a frame?

`python -m tests.engines.runtime.tensorrt_overhead`. The device and the library do nothing here, so what is measured is
`infer`, its checks and its calls; and what it takes to begin a call that overlaps with others, after which the worker
is free. The trap: it is Python's time alone; what a real driver takes for its calls comes on top.
"""

import time
from typing import Any
from unittest import mock

import numpy as np

from engines.machine import machine_kind
from engines.names import resolve
from engines.plans.gpu import Gpu
from engines.plans.library import LIBRARIES, Library
from engines.runtime import tensorrt_engine
from engines.runtime.host_device import HostDevice
from engines.runtime.tensorrt_engine import TensorRtEngine
from tests.engines.runtime.notebook import NotedDevice, NotedGraph, NotedTrt

WARM_UP_FRAMES = 200
FRAMES = 5000


class IdleDevice(NotedDevice):
    """Takes calls and does nothing."""

    def upload(self, buffer: Any, array: Any) -> None:
        """Nothing."""

    def download(self, array: Any, buffer: Any) -> None:
        """Nothing."""

    def copy(self, to: Any, source: Any) -> None:
        """Nothing."""

    def mark(self) -> Any:
        """A mark that is reached."""
        return HostDevice().mark()

    def after(self, mark: Any) -> None:
        """Nothing."""

    def captured(self, work: Any) -> NotedGraph:
        """A graph that does nothing."""
        return IdleGraph(self, [])

    def wait(self) -> None:
        """Nothing."""

    def enqueue(self, work: Any) -> None:
        """Nothing."""


class IdleGraph(NotedGraph):
    """Launches nothing."""

    def launch(self) -> None:
        """Nothing."""


def overhead_us() -> dict[str, list[float]]:
    """Microseconds of each frame: the shipped person engine, alpha alone, as a stream asks; both ways by turns."""
    spec, device = resolve("person@512x288:fp32"), IdleDevice()
    library = Library(LIBRARIES["tensorrt"], NotedTrt(spec, device))
    plan = mock.Mock(**{"load.return_value": b"", "manifest.key.options.batches": None, "passed_over": ()})
    with mock.patch.multiple(
        tensorrt_engine,
        gpu_here=lambda: (Gpu("none", "9.0", "13.0", 1 << 30), ""),
        find_library=lambda name: library,
        open_device=lambda: device,
        plan_for=lambda *arguments, **options: plan,
    ):
        image_bgr = np.zeros(spec.input.shape(), np.uint8)
        outputs = {"alpha": np.zeros(spec.output_shape("alpha"), np.uint8)}
        with TensorRtEngine(spec, outputs=("alpha",)) as engine:
            overlap = engine.overlap(lambda: None)
            assert overlap is not None, "it lends its buffers"
            times_us: dict[str, list[float]] = {"infer": [], "overlap": []}
            for _ in range(WARM_UP_FRAMES + FRAMES):
                start_ns = time.perf_counter_ns()
                engine.infer({"image_bgr": image_bgr}, outputs)
                times_us["infer"].append((time.perf_counter_ns() - start_ns) / 1e3)
                start_ns = time.perf_counter_ns()
                call = overlap.submit(image_bgr, outputs)
                times_us["overlap"].append((time.perf_counter_ns() - start_ns) / 1e3)
                call.done.wait()
            overlap.close()
    return {name: times[WARM_UP_FRAMES:] for name, times in times_us.items()}


def main() -> None:
    """Print the distributions and the machine."""
    for name, times in overhead_us().items():
        p50, p95, p99 = np.percentile(times, (50, 95, 99))
        told = f"{name}: p50 {p50:.1f} us, p95 {p95:.1f} us, p99 {p99:.1f} us of {FRAMES} frames; {machine_kind()}"
        print(told)  # noqa: T201


if __name__ == "__main__":
    main()
