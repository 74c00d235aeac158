"""Is this graph as good as the one it would replace, and faster, on this machine? Measured, then noted.

Both graphs run here, on the backend that a stream would take: mIoU under P2 on the same pictures, times in short
rounds one after the other, first one graph first, then the other. The trap: two times measured a minute apart differ
by the load of the machine, not by the graph; only the ratio of neighbouring rounds is told as a speed-up.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from time import perf_counter_ns

import numpy as np
from numpy.typing import NDArray

from engines.data.pairs import Dataset
from engines.errors import EngineMismatch, EngineNotFound
from engines.evaluation.evaluate import P2Engine, evaluate
from engines.geometry import tensor_of
from engines.manifest import Certificate
from engines.names import resolve, spec_of
from engines.record import manifest_of
from engines.runtime import Engine, open_engine
from engines.spec import INPUT_NAME, EngineSpec

__all__ = ["MAX_MIOU_DROP", "Verdict", "certify", "reference_of"]

MAX_MIOU_DROP = 0.003
"""0.3 points: what published int8 DeepLabs lose at most (mmdeploy's tables: 79.61 to 79.43 on Cityscapes)."""
N_ROUNDS = 12
N_INFERENCES = 15
"""Of each graph in a round."""
WARM_UP = 5
N_PICTURES = 8
"""Different ones, so that nothing is timed on a single picture."""


@dataclass(frozen=True)
class Verdict:
    """What was measured, and why the graph is not to be used; no objections: it is certified."""

    certificate: Certificate
    objections: tuple[str, ...]


def reference_of(spec: EngineSpec, against: str | None = None) -> EngineSpec:
    """The graph that `spec` would replace: the one named, else fp32 of the same size in the same manifest.

    Raises:
        EngineNotFound: nothing is named and the manifest has no such graph.
        EngineMismatch: sizes or classes differ, or there is no manifest.
    """
    if against is not None:
        reference = resolve(against)
    else:
        path, manifest = manifest_of(spec)
        size = spec.input.size
        fitting = [g for g in manifest.graphs if g.size == size and g.precision == "fp32" and g.batch == 1]
        fitting = [g for g in fitting if not g.any_batch] or fitting  # as a name leads to it
        if not fitting:
            raise EngineNotFound(f"{path} lists no fp32 graph of {size} to compare with; name one with --against")
        reference = spec_of(manifest, fitting[0], path.parent)
    if spec.batch != 1 or reference.batch != 1:
        raise EngineMismatch(f"{spec.label} against {reference.label}: a stream takes graphs of batch 1, certify those")
    if (reference.input, reference.output) != (spec.input, spec.output):
        raise EngineMismatch(
            f"{spec.label} cannot replace {reference.label}: expected the same size, resize rule, classes and subject"
        )
    return reference


def certify(
    spec: EngineSpec,
    reference: EngineSpec,
    pairs: Dataset,
    data: str,
    *,
    max_miou_drop: float = MAX_MIOU_DROP,
    n_rounds: int = N_ROUNDS,
    say: Callable[[str], None] = lambda _line: None,
) -> Verdict:
    """Measure `spec` beside `reference`.

    Args:
        spec: the graph that might be used; may be the reference itself, whose own figures are then noted.
        reference: see `reference_of`.
        pairs: pictures with labels.
        data: how they are called in the certificate.
        say: takes a line of progress.
    """
    is_itself = spec.path == reference.path
    say(f"{reference.label}: mIoU")
    miou_against, n_images = _scored(reference, pairs)
    miou = miou_against
    if not is_itself:
        say(f"{spec.label}: mIoU")
        miou, n_images = _scored(spec, pairs)
    say("both: times")
    tensors = _tensors(spec, pairs)
    with (
        open_engine(spec, outputs=spec.output.mask_planes) as engine,
        open_engine(reference, outputs=reference.output.mask_planes) as other,
    ):
        times, times_against = _interleaved(engine, other, tensors, n_rounds)
        backend = engine.backend
    certificate = Certificate(
        against=reference.path.name,
        data=data,
        images=n_images,
        miou=round(miou, 4),
        miou_against=round(miou_against, 4),
        p50_ms=round(float(np.median(np.median(times, axis=1))), 3),
        p95_ms=round(float(np.median(np.percentile(times, 95, axis=1))), 3),
        speedup=1.0 if is_itself else round(_speedup(times, times_against), 3),
        backend=backend,
    )
    objections = []
    if miou < miou_against - max_miou_drop:
        objections.append(
            f"mIoU {100 * miou:.2f} is {100 * (miou_against - miou):.2f} points below {reference.label} "
            f"(at most {100 * max_miou_drop:.2f})"
        )
    if certificate.speedup < 1.0:
        objections.append(
            f"it takes {1 / certificate.speedup:.2f} times as long as {reference.label} ({certificate.p50_ms:.1f} ms)"
        )
    return Verdict(certificate, tuple(objections))


def _scored(spec: EngineSpec, pairs: Dataset) -> tuple[float, int]:
    with open_engine(spec, outputs=("logits",)) as engine:
        result = evaluate(P2Engine(engine), pairs, metrics=())
    return result.scores.miou, result.scores.n_images


def _tensors(spec: EngineSpec, pairs: Dataset) -> list[NDArray[np.uint8]]:
    return [tensor_of(pair.image_bgr, spec.input)[None] for pair in islice(pairs, N_PICTURES)]


def _interleaved(
    engine: Engine, other: Engine, tensors: Sequence[NDArray[np.uint8]], n_rounds: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Milliseconds (rounds, inferences) of both; who goes first changes with every round."""
    for each in (engine, other):
        _round(each, tensors, WARM_UP)
    times = {id(engine): np.zeros((n_rounds, N_INFERENCES)), id(other): np.zeros((n_rounds, N_INFERENCES))}
    for index in range(n_rounds):
        for each in (engine, other) if index % 2 else (other, engine):
            times[id(each)][index] = _round(each, tensors, N_INFERENCES)
    return times[id(engine)], times[id(other)]


def _round(engine: Engine, tensors: Sequence[NDArray[np.uint8]], n: int) -> list[float]:
    outputs = {name: np.zeros(engine.spec.output_shape(name), np.uint8) for name in engine.outputs}
    times_ms = []
    for index in range(n):
        start_ns = perf_counter_ns()
        engine.infer({INPUT_NAME: tensors[index % len(tensors)]}, outputs)
        times_ms.append((perf_counter_ns() - start_ns) / 1e6)
    return times_ms


def _speedup(times: NDArray[np.float64], times_against: NDArray[np.float64]) -> float:
    return float(np.median(np.median(times_against, axis=1) / np.median(times, axis=1)))
