"""What eight streams gain by sharing calls: DeepLabv3+ with ResNet-50 as an engine, eight pictures a call against one.

Whole calls, copies included, in turns; frames of eight streams are copied side by side in a stream besides, which
`run_stream.py bench streams` shows. Logits of a batch are compared with those of single calls.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from engines.errors import EngineError
from engines.export.open_batch import open_axis
from engines.manifest import sha256_of
from engines.models.config import BackboneName
from engines.plans.builder import build_plan
from engines.plans.cache import PlanCache
from engines.plans.gpu import gpu_here
from engines.plans.key import Batches, PlanOptions, Target
from engines.plans.library import LIBRARIES, find_library
from engines.runtime import Engine, backend_reason, open_engine
from engines.spec import INPUT_NAME, EngineSpec
from tests.gpu.engine_rows import ON_CPU, ON_GPU, exported_network
from tests.gpu.network_rows import BOUND, UNIT, deviation
from tests.gpu.rows import Row

__all__ = ["GAIN", "batch_rows"]

N_STREAMS = 8
GAIN = 3.0
"""Frames a second of eight streams by those of one, at least; issue 5."""
TURNS = 40


def batch_rows(device: torch.device, is_quick: bool) -> Iterator[Row]:
    """A row a backend: `ms` is a picture's share of a call of eight, the goal a third of a call of one."""
    is_gpu = device.type == "cuda"
    backbone: BackboneName = "mobilenet_v2" if is_quick else "resnet50"
    with tempfile.TemporaryDirectory(prefix="gpu-report-") as folder:
        exported = exported_network(backbone, 64 if is_quick else 512, Path(folder))
        for backend in ON_GPU if is_gpu else ON_CPU:
            if backend_reason(backend) is None:
                is_half = backend.startswith("tensorrt") or backend == "onnxruntime_cuda"
                spec = opened(exported.fp16 if is_half else exported.fp32, Path(folder))
                yield row_of(spec, backend, Path(folder), is_timed=is_gpu)


def opened(spec: EngineSpec, folder: Path) -> EngineSpec:
    """The same graph for any batch."""
    graph = onnx.load(spec.path)
    open_axis(graph)
    path = folder / f"{spec.path.stem}-xN.onnx"
    onnx.save(graph, path)
    return replace(spec, path=path, sha256=sha256_of(path), any_batch=True)


def row_of(spec: EngineSpec, backend: str, folder: Path, *, is_timed: bool) -> Row:
    """Eight pictures in one call, and each alone."""
    work = f"{N_STREAMS} pictures a call, {spec.label}, {backend}"
    images = np.random.default_rng(4).integers(0, 256, spec.input.shape(N_STREAMS), np.uint8)
    together, alone = (np.zeros(spec.output_shape("logits", N_STREAMS), np.float32) for _ in range(2))
    try:
        if backend in LIBRARIES:
            _build(spec, backend, folder)
        with open_engine(spec, backend=backend, outputs=["logits"], n_threads=1, max_batch=N_STREAMS) as engine:
            if engine.max_batch < N_STREAMS:
                raise EngineError(f"{engine.backend} takes {engine.max_batch} pictures a call")
            engine.infer({INPUT_NAME: images}, {"logits": together})
            for index in range(N_STREAMS):
                one = slice(index, index + 1)
                engine.infer({INPUT_NAME: images[one]}, {"logits": alone[one]})
            facts: dict[str, Any] = {"backend": engine.backend}
            share_ms, one_ms = times(engine, images, together) if is_timed else (None, None)
    except EngineError as error:
        return Row(work, "-", 0.0, 0.0, "", refused=" ".join(str(error).split()))
    if share_ms is None or one_ms is None:
        return Row(work, "one a call", deviation(together, alone), BOUND, UNIT, facts=facts)
    facts |= {"one_ms": round(one_ms, 4), "gain": round(one_ms / share_ms, 2)}
    goal_ms = one_ms / GAIN
    return Row(work, "one a call", deviation(together, alone), BOUND, UNIT, share_ms, goal_ms=goal_ms, facts=facts)


def times(engine: Engine, images: NDArray[np.uint8], out: NDArray[np.float32]) -> tuple[float, float]:
    """Medians in ms: a picture's share of a call of all, and a call of one; in turns, after one turn for nothing."""
    spent: dict[int, list[float]] = {len(images): [], 1: []}
    for _ in range(TURNS + 1):
        for n, all_ms in spent.items():
            begin = time.perf_counter()
            engine.infer({INPUT_NAME: images[:n]}, {"logits": out[:n]})
            all_ms.append((time.perf_counter() - begin) * 1e3 / n)
    return statistics.median(spent[len(images)][1:]), statistics.median(spent[1][1:])


def _build(spec: EngineSpec, backend: str, folder: Path) -> None:
    plans = folder / "plans"
    os.environ["SEGSTREAM_PLANS"] = str(plans)
    library, (gpu, _) = find_library(backend), gpu_here()
    options = PlanOptions(batches=Batches(smallest=1, usual=N_STREAMS, largest=N_STREAMS))
    build_plan(spec, library, Target.of(library, gpu), options, PlanCache(plans), gpu=gpu)
