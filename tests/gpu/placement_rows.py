"""How much of an engine's speed a whole stream keeps: fused in one worker, and split over one process a stage.

`ms` is a frame's share of the stream's time, flat out; the goal is what the bare engine takes for a picture (up,
network, mask down), divided by the share that is to be reached. On a CPU the fake engine stands in, and nothing is
timed. The trap: the source has to be faster than the engine, so its own rate is among the facts.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engines.errors import EngineError
from engines.export.graph import export_graph
from engines.names import resolve
from engines.plans.missing import missing_plan
from engines.runtime import automatic_backends, open_engine, runs_on_gpu
from engines.spec import INPUT_NAME, Meaning
from tests.gpu.engine_rows import small_network
from tests.gpu.painter_rows import painter_rows
from tests.gpu.rows import Row
from tests.stream.playing import play

__all__ = ["placement_rows"]

SHARE = 0.9
"""Of the bare engine's pictures a second, for a fused stream."""
FRAMES, PACED_HZ, PACED_S = 1000, 60, 5
MOST_BACKENDS = 2
"""That work: TensorRT and torch, mostly. All of them would take the report's whole time."""
LATE_SHARE = 0.01
"""Of a paced stream's frames that may be dropped."""
SIDE, N_CLASSES = 512, 21


def placement_rows(device: torch.device) -> Iterator[Row]:
    """Effects alone; then streams by the best backends: fused and split flat out, split at 60 frames a second."""
    is_gpu = device.type == "cuda"
    yield from painter_rows(device, resolve("person"), (720, 1280) if is_gpu else (72, 128))
    if not is_gpu:
        for placement in ("fused", "split"):
            played = _played("fake@320x180", "auto", placement, 20)
            yield _row(f"stream, fake engine, {placement}", played, None, None, {})
        return
    with tempfile.TemporaryDirectory(prefix="gpu-report-") as folder:
        engine = _exported(Path(folder))
        source_fps = _played("fake@64x64", "auto", "split", 300).report["fps"]
        n_tried = 0
        for backend in [name for name in automatic_backends() if runs_on_gpu(name)]:
            if n_tried == MOST_BACKENDS:
                return
            try:
                bare_ms = _bare_ms(engine, backend, Path(folder))
            except EngineError as error:
                work = f"stream, v3+ resnet50, {backend}"
                yield Row(work, "-", 0.0, 0.0, "", refused=" ".join(str(error).split()))
                continue
            n_tried += 1
            facts = {"bare_fps": round(1000 / bare_ms, 1), "source_fps": source_fps}
            for placement in ("fused", "split"):
                played = _played(engine, backend, placement, FRAMES)
                goal_ms = bare_ms / SHARE if placement == "fused" else None
                yield _row(f"stream, v3+ resnet50, {backend}, {placement}", played, bare_ms, goal_ms, facts)
            yield _paced(engine, backend)


def _row(work: str, played: Any, bare_ms: float | None, goal_ms: float | None, facts: dict[str, Any]) -> Row:
    frames = played.frames
    unshown = frames["captured"] - frames["shown"]
    ms = None if bare_ms is None else 1000 / played.report["fps"]
    told = {**facts, "frames": frames, "backend": played.report["backend"], "events": played.events}
    if ms is not None and bare_ms is not None:
        told["share_of_bare"] = round(bare_ms / ms, 3)
    return Row(work, "every frame", float(unshown), 0.0, "frames", ms, None, None, goal_ms, told)


def _paced(engine: str, backend: str) -> Row:
    played = play(
        f"synthetic:1280x720@{PACED_HZ}", engine=engine, backend=backend, pacing="live", seconds=PACED_S,
        build="never", workers=[], placement="split", effect="blur:12",
    )  # fmt: skip
    frames, latency = played.frames, played.report["latency_ms"]
    late = 1 - frames["shown"] / max(1, frames["captured"])
    work = f"stream, v3+ resnet50, {backend}, split, paced at {PACED_HZ}"
    return Row(work, "every frame", late, LATE_SHARE, "share", facts={"frames": frames, "latency_ms": latency})


def _played(engine: str, backend: str, placement: str, n: int) -> Any:
    return play(
        f"synthetic:1280x720@30?frames={n}", engine=engine, backend=backend, pacing="lossless", build="never",
        workers=[], placement=placement, effect="blur:12",
    )  # fmt: skip


def _bare_ms(engine: str, backend: str, folder: Path) -> float:
    """Median of whole calls on one picture, masks only; a plan that is missing is built first."""
    spec = resolve(engine)
    os.environ["SEGSTREAM_PLANS"] = str(folder / "plans")
    plan, _ = missing_plan(spec, backend)
    if plan is not None:
        done = subprocess.run(
            [sys.executable, "-m", "engines", *plan.arguments], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise EngineError(f"{plan.command}: {done.stderr.strip()[-200:]}")
    names = spec.output.mask_planes
    out = {name: np.zeros(spec.output_shape(name), spec.output_dtype(name)) for name in names}
    image_bgr = np.random.default_rng(3).integers(0, 256, spec.input.shape(), dtype=np.uint8)
    with open_engine(spec, backend=backend, outputs=names) as opened:
        times = []
        for _ in range(220):
            begin = time.perf_counter()
            opened.infer({INPUT_NAME: image_bgr}, out)
            times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times[20:])


def _exported(folder: Path) -> str:
    """The path of an untrained DeepLabv3+ on ResNet-50, as streams open it."""
    network = small_network("resnet50")
    names = tuple(f"class {index}" for index in range(N_CLASSES))
    colours = tuple((index, index, index) for index in range(N_CLASSES))
    path = folder / "resnet50.onnx"
    export_graph(network, Meaning(names, colours, "class 15"), SIDE, SIDE, path, [])
    return str(path)
