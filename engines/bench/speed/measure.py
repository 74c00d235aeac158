"""One network at one size, on every backend of this machine, taking turns.

What is timed is what a stream asks for: a uint8 picture in, `labels` at full size out, one picture at a time, on
all usable cores. The runtimes get the very same graph; torch runs the same served network without a graph
compiler (eager), on a GPU where there is one.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from engines.bench.report import load_average, machine_line
from engines.bench.speed.networks import N_CLASSES, Network
from engines.bench.speed.records import Record
from engines.bench.synthetic import settled
from engines.crf import PRESETS
from engines.crf.reference import mean_field
from engines.export.graph import ServedGraph, export_graph
from engines.machine import usable_cores
from engines.models.base import DeepLab
from engines.models.deeplab import build
from engines.models.facts import facts_of
from engines.runtime import backend_reason, open_engine
from engines.size import Size
from engines.spec import INPUT_NAME, Meaning

__all__ = ["CRF", "CRF_BACKEND", "RUNTIMES", "TORCH", "crf_record", "network_records"]

RUNTIMES = ("openvino", "onnxruntime")
TORCH = "torch"
CRF, CRF_BACKEND = "dense CRF", "pydensecrf"
CRF_PRESET = "deeplab"
CRF_ITERATIONS = 10
"""As in the papers of v1 and v2."""

FEWEST_RUNS, MOST_RUNS = 3, 40
Run = Callable[[], None]


def network_records(network: Network, size: Size, budget_s: float) -> list[Record]:
    """A record a backend; a runtime that cannot work here is left out.

    Args:
        budget_s: about so long may all backends run together; a slow network runs three times on each at least.

    Raises:
        EngineError: the network cannot be exported, or a runtime refuses its graph.
    """
    width, height = size
    model = settled(build(network.config, N_CLASSES))
    facts = facts_of(model, height, width)
    load = load_average()[0] if load_average() else 0.0
    with ExitStack() as opened:
        runs = opened.enter_context(_runs(model, size))
        times_ms = _taking_turns({backend: run for backend, (_, run) in runs.items()}, budget_s)
    return [
        _record(network.name, size, backend, runs[backend][0], times, load, facts.gmac, facts.n_parameters)
        for backend, times in times_ms.items()
    ]


def crf_record(picture_bgr: NDArray[np.uint8], size: Size, budget_s: float) -> Record:
    """The dense CRF of the papers behind a network of 21 classes, on a picture brought to `size`.

    Raises:
        BackendUnavailable: pydensecrf is not installed.
    """
    image = np.asarray(cv2.resize(picture_bgr, size, interpolation=cv2.INTER_AREA), np.uint8)
    # Blobs of the size of things: mean field costs the same for every probability, the lattice depends on the image.
    coarse = np.random.default_rng(0).normal(0, 3, (9, 16, N_CLASSES)).astype(np.float32)
    logits = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC).transpose(2, 0, 1)
    probs = np.exp(logits - logits.max(axis=0))
    probs = np.ascontiguousarray(probs / probs.sum(axis=0), np.float32)
    load = load_average()[0] if load_average() else 0.0

    def run() -> None:
        mean_field(probs, image, PRESETS[CRF_PRESET], CRF_ITERATIONS)

    times = _taking_turns({CRF_BACKEND: run}, budget_s)[CRF_BACKEND]
    detail = f"pydensecrf, {CRF_ITERATIONS} iterations, preset {CRF_PRESET}, {N_CLASSES} classes, 1 core"
    return _record(CRF, size, CRF_BACKEND, detail, times, load, None, None)


@contextmanager
def _runs(model: DeepLab, size: Size) -> Iterator[dict[str, tuple[str, Run]]]:
    """Backend to what runs there, in words, and one inference."""
    width, height = size
    picture = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory(prefix="segstream-speed-") as folder, ExitStack() as opened:
        path = Path(folder) / "network.onnx"
        names = tuple(f"class{index}" for index in range(N_CLASSES))
        meaning = Meaning(names, tuple((index, index, index) for index in range(N_CLASSES)), None)
        export_graph(model, meaning, width, height, path, [])
        found: dict[str, tuple[str, Run]] = {}
        for backend in RUNTIMES:
            if backend_reason(backend) is not None:
                continue
            engine = opened.enter_context(open_engine(path, backend=backend, outputs=("labels",)))
            labels = np.empty((1, height, width), np.uint8)

            def infer(engine=engine, labels=labels) -> None:  # type: ignore[no-untyped-def]  # bound now, not later
                engine.infer({INPUT_NAME: picture}, {"labels": labels})

            found[backend] = (engine.backend, infer)
        found[TORCH] = _eager(model, size, picture)
        yield found


def _eager(model: DeepLab, size: Size, picture: NDArray[np.uint8]) -> tuple[str, Run]:
    width, height = size
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    served = ServedGraph(model, None, width, height).eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    torch.set_num_threads(usable_cores())

    def run() -> None:
        with torch.inference_mode():
            served(torch.from_numpy(picture).to(device))[-1].cpu()  # .cpu() waits for a GPU

    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{usable_cores()} threads"
    return f"torch {torch.__version__} eager fp32, {where}", run


def _taking_turns(runs: Mapping[str, Run], budget_s: float) -> dict[str, list[float]]:
    """Milliseconds of each run, one run of each backend a round, after two rounds that are not counted."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(2):
        for run in runs.values():
            run()
    end_s = time.monotonic() + budget_s
    for done in range(MOST_RUNS):
        if done >= FEWEST_RUNS and time.monotonic() > end_s:
            break
        for name, run in runs.items():
            start_ns = time.monotonic_ns()
            run()
            times[name].append((time.monotonic_ns() - start_ns) / 1e6)
    return times


def _record(
    network: str,
    size: Size,
    backend: str,
    detail: str,
    times_ms: Sequence[float],
    load: float,
    gmac: float | None,
    parameters: int | None,
) -> Record:
    ordered = sorted(times_ms)
    return Record(
        network=network,
        width=size[0],
        height=size[1],
        backend=backend,
        detail=detail,
        machine=machine_line(),
        ms_p50=round(statistics.median(ordered), 2),
        ms_lowest=round(ordered[0], 2),
        ms_p95=round(ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))], 2),
        n_runs=len(ordered),
        gmac=None if gmac is None else round(gmac, 3),
        parameters=parameters,
        load_average=load,
    )
