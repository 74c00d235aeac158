"""DeepLabv3+ on four backbones as engines: exported, in fp16, opened by every backend of this GPU, to stride-4 logits.

`ms` is what the GPU works for one picture (the captured graph, launched again and again), `launched` one call of the
engine: the picture goes up, the logits come down. TensorRT's plans are built here. The trap: a graph that also gives
labels would spend a part of its time on enlarging, so all but the logits is cut off.
"""

import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx.utils
import torch
from numpy.typing import NDArray

from engines.errors import EngineError
from engines.export.graph import export_graph
from engines.export.lower import lowered
from engines.manifest import sha256_of
from engines.models.base import DeepLab
from engines.models.config import BackboneName, ModelConfig
from engines.plans.builder import build_plan
from engines.plans.cache import PlanCache
from engines.plans.gpu import gpu_here
from engines.plans.key import PlanOptions, Target
from engines.plans.library import LIBRARIES, find_library, library_reason
from engines.runtime import backend_reason, open_engine
from engines.spec import INPUT_NAME, EngineSpec, InputSpec, Meaning, OutputSpec
from tests.engines.networks import settled
from tests.gpu.network_rows import BOUND, GOALS_MS, N_CLASSES, TORCH_SHARE, UNIT, deviation
from tests.gpu.rows import Row

__all__ = ["ON_CPU", "ON_GPU", "engine_rows", "exported_network"]

ON_GPU = ("tensorrt", "tensorrt_rtx", "torch_cuda", "onnxruntime_cuda")
ON_CPU = ("torch_cpu", "onnxruntime")
SMALL = 0.04
"""By which logits are scaled, so that an untrained network passes the export's check, which is in absolute figures."""
LAUNCHES, REPEATS = 20, 15


class LogitsOnly(OutputSpec):
    """What is left of the outputs."""

    @property
    def names(self) -> tuple[str, ...]:
        """One."""
        return ("logits",)


@dataclass(frozen=True)
class Exported:
    """One network: its graphs and what it says in float32."""

    fp32: EngineSpec
    fp16: EngineSpec
    image_bgr: NDArray[np.uint8]
    logits: NDArray[np.float32]


def engine_rows(device: torch.device, is_quick: bool) -> Iterator[Row]:
    """A row a backbone and backend; one that cannot serve says why. Without a GPU, plans are built and not run."""
    is_gpu = device.type == "cuda"
    side = 64 if is_quick else 512
    backends = [name for name in (ON_GPU if is_gpu else ON_CPU) if backend_reason(name) is None]
    for backbone, goal_ms in GOALS_MS.items():
        with tempfile.TemporaryDirectory(prefix="gpu-report-") as folder:
            exported = exported_network(backbone, side, Path(folder))
            for backend in backends:
                yield _row(exported, backend, backbone, None if is_quick else goal_ms, Path(folder))
                gc.collect()
            if not is_gpu:
                yield from _built_only(exported, backbone, Path(folder))
        if is_quick:
            return


def _row(exported: Exported, backend: str, backbone: str, goal_ms: float | None, folder: Path) -> Row:
    spec = exported.fp16 if backend.startswith("tensorrt") or backend == "onnxruntime_cuda" else exported.fp32
    work = f"v3+ {backbone}, {spec.input.width}x{spec.input.height}, {backend}"
    facts: dict[str, Any] = {}
    try:
        if backend in LIBRARIES:
            facts["build_s"] = _build(spec, backend, folder)
        engine = open_engine(spec, backend=backend, outputs=["logits"], n_threads=1)
        out = {"logits": np.zeros(spec.output_shape("logits"), np.float32)}
        with engine:
            engine.infer({INPUT_NAME: exported.image_bgr}, out)
            facts["backend"] = engine.backend
            times = _times(engine, exported.image_bgr, out) if backend in ON_GPU else (None, None, None)
    except EngineError as error:
        return Row(work, "-", 0.0, 0.0, "", refused=" ".join(str(error).split()), facts=facts)
    difference = deviation(out["logits"], exported.logits)
    share = 1.0 if backend.startswith("tensorrt") else TORCH_SHARE
    goal = goal_ms * share if goal_ms is not None and backend != "onnxruntime_cuda" else None
    return Row(work, "float32", difference, BOUND, UNIT, *times, goal, facts)


def _times(
    engine: Any, image_bgr: NDArray[np.uint8], out: dict[str, NDArray[np.float32]]
) -> tuple[float, float, float]:
    """Median and 95th percentile of the GPU's work for one picture, and the median of a whole call, in ms."""
    launch, wait = _launcher(engine)

    def many() -> None:
        for _ in range(LAUNCHES):
            launch()
        wait()

    work = [ms / LAUNCHES for ms in _clocked(many)]
    calls = _clocked(lambda: engine.infer({INPUT_NAME: image_bgr}, out))
    ordered = sorted(work)
    return statistics.median(work), ordered[int(0.95 * len(ordered))], statistics.median(calls)


def _launcher(engine: Any) -> tuple[Callable[[], None], Callable[[], None]]:
    """Queue one inference as the engine does, between its copies; and wait for all that is queued."""
    held = getattr(engine, "_held", None)
    if held is None:  # ONNX Runtime keeps its graph to itself
        return engine._queue, engine._device.wait
    if not held.graphs:
        raise EngineError(f"{engine.backend}: nothing was captured")
    return held.graphs[1].launch, held.device.wait


def _clocked(run: Callable[[], None]) -> list[float]:
    for _ in range(3):
        run()
    all_ms = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        run()
        all_ms.append((time.perf_counter() - begin) * 1e3)
    return all_ms


def _built_only(exported: Exported, backbone: str, folder: Path) -> Iterator[Row]:
    for name in LIBRARIES:
        if library_reason(name) is None and not LIBRARIES[name].needs_gpu:
            work = f"plan of v3+ {backbone}, {name}"
            try:
                facts = {"build_s": _build(exported.fp16, name, folder)}
            except EngineError as error:
                yield Row(work, "-", 0.0, 0.0, "", refused=" ".join(str(error).split()))
            else:
                yield Row(work, "built, not run", 0.0, 0.0, "", facts=facts)


def _build(spec: EngineSpec, backend: str, folder: Path) -> float:
    """Build the plan where the backend looks first; the seconds it took."""
    plans = folder / "plans"
    os.environ["SEGSTREAM_PLANS"] = str(plans)
    library, (gpu, _) = find_library(backend), gpu_here()
    begin = time.perf_counter()
    build_plan(spec, library, Target.of(library, gpu), PlanOptions(), PlanCache(plans), gpu=gpu)
    return round(time.perf_counter() - begin, 1)


def small_network(backbone: BackboneName) -> DeepLab:
    """DeepLabv3+ with random weights, whose logits are small: their rounding errors are, too."""
    network = settled(ModelConfig(backbone=backbone, aspp_channels=256, low_channels=48), N_CLASSES)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.split(".")[0] in network.classifiers or name.rpartition(".")[0] in network.classifiers:
                parameter.mul_(SMALL)
    return network


def exported_network(backbone: BackboneName, side: int, folder: Path) -> Exported:
    """DeepLabv3+ with random weights, (side, side), as graphs cut to their logits."""
    network = small_network(backbone)
    names = tuple(f"class {index}" for index in range(N_CLASSES))
    colours = tuple((index, index, index) for index in range(N_CLASSES))
    whole = folder / "whole.onnx"
    export_graph(network, Meaning(names, colours, None), side, side, whole, [])
    image_bgr = np.random.default_rng(3).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    with torch.inference_mode():
        logits = network(network.normalise(torch.from_numpy(image_bgr))).numpy()
    graph = onnx.utils.Extractor(onnx.load(whole)).extract_model([INPUT_NAME], ["logits"])
    specs = {}
    for precision in ("fp32", "fp16"):
        path = folder / f"{backbone}-{precision}.onnx"
        onnx.save(graph if precision == "fp32" else lowered(graph, "fp16"), path)
        specs[precision] = EngineSpec(
            backbone, path, InputSpec(side, side), LogitsOnly(names, None), colours, precision, sha256=sha256_of(path)
        )
    return Exported(specs["fp32"], specs["fp16"], image_bgr, logits)
