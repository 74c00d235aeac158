"""What a command line names, opened for scoring: a checkpoint, an ONNX file or an engine.

The one place that decides which protocol fits: a checkpoint takes any size (P1 unless P2 is asked for), a graph has one
(P2). torch is imported only for a checkpoint.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engines.crf_gate import gate_of
from engines.errors import EngineError, InputSizeError
from engines.evaluation.segmenters import Averaged, P2Engine, Refined, Segmenter, StreamRefined
from engines.size import DEFAULT_SIZE, SIDE_MULTIPLE, Size
from engines.spec import EngineSpec, InputSpec, Palette

__all__ = ["OutputStride", "Protocol", "Target", "is_checkpoint", "opened", "served_size"]

Protocol = Literal["P1", "P2"]
OutputStride = Literal[8, 16, 32]
AUTO = "auto"


@dataclass(frozen=True)
class Target:
    """A segmenter, and what is known of it beside its classes."""

    segmenter: Segmenter
    title: str
    """`person 512x288 fp32 on OpenVINO ...`, as a table names it."""
    palette: Palette
    key: str
    """Of recorded scores: P1, P2, or `P2@512x288` for a checkpoint."""
    spec: EngineSpec | None = None
    """Of a graph; None for a checkpoint."""


def is_checkpoint(target: str) -> bool:
    """Whether it names a `.pt` file."""
    return Path(target).suffix == ".pt"


def served_size(engine: str) -> Size:
    """Of a graph."""
    from engines.names import resolve

    return resolve(engine).input.size


@contextmanager
def opened(
    target: str,
    *,
    protocol: Protocol | None = None,
    size: Size = DEFAULT_SIZE,
    backend: str = "auto",
    scales: Sequence[float] = (1.0,),
    flips: bool = False,
    output_stride: OutputStride | None = None,
    crf: str | None = None,
) -> Iterator[Target]:
    """Open what `target` names, for the length of the `with`.

    Args:
        target: `NAME.pt`, or whatever `engines.names.resolve` understands.
        size: of P2 with a checkpoint.
        backend: of a graph.
        scales: of the input, probabilities are averaged; other than 1 for checkpoints only.
        flips: average with the mirrored picture too.
        output_stride: 8, 16 or 32 instead of the one trained with; for checkpoints only.
        crf: preset of the dense CRF after it, at the picture's own size; `auto`: what an engine's manifest says, at the
            engine's size.

    Raises:
        EngineError: what was asked for does not fit the target, or it cannot be opened.
    """
    if is_checkpoint(target):
        if crf == AUTO:
            raise EngineError(
                f"--crf auto asks an engine's manifest, {target} has none; name a preset, such as deeplab"
            )
        yield _checkpoint(Path(target), protocol or "P1", size, scales, flips, output_stride, crf)
        return
    for is_wrong, told in (
        (protocol == "P1", "P1 is the protocol of checkpoints"),
        (tuple(scales) != (1.0,), "several scales are for checkpoints"),
        (output_stride is not None, "the output stride can be changed in checkpoints only"),
    ):
        if is_wrong:
            raise EngineError(f"{told}; {target} has one fixed size and stride")
    from engines.runtime import open_engine

    with open_engine(target, backend=backend, outputs=("logits",), hint="throughput") as engine:
        title = f"{engine.spec.label} on {engine.backend}"
        one = P2Engine(engine)
        if crf == AUTO:
            gate, crf = gate_of(engine.spec), None
            title = f"{title}, crf auto: {gate.why}"
            one = one if gate.setting is None else StreamRefined(engine, gate.setting)
        segmenter = _dressed([one], scales, flips, crf)
        yield Target(segmenter, title, engine.spec.palette, "P2", engine.spec)


def _checkpoint(
    path: Path,
    protocol: Protocol,
    size: Size,
    scales: Sequence[float],
    flips: bool,
    output_stride: OutputStride | None,
    crf: str | None,
) -> Target:
    from engines.evaluation.networks import P1_LONGER_SIDE_PX, P1Network, P2Network
    from engines.models.deeplab import with_output_stride
    from engines.training.checkpoint import Checkpoint

    if protocol == "P2" and not size.is_in(SIDE_MULTIPLE):
        raise InputSizeError(
            f"size {size} is not in multiples of {SIDE_MULTIPLE}, so no graph of it could be exported; "
            f"name one such as {DEFAULT_SIZE}"
        )
    checkpoint = Checkpoint.load(path)
    network, meaning = checkpoint.network(), checkpoint.meaning
    if output_stride is not None:
        network = with_output_stride(network, output_stride)
    segmenters: list[Segmenter] = [
        P1Network(network, meaning.classes, round(P1_LONGER_SIDE_PX * scale))
        if protocol == "P1"
        else P2Network(network, meaning.classes, InputSpec.of(size.scaled(scale), meaning.resize))
        for scale in scales
    ]
    stride = "" if output_stride is None else f", output stride {output_stride}"
    key = "P1" if protocol == "P1" else f"P2@{size}"
    title = f"{path.name}{f' {size}' if protocol == 'P2' else ''}{stride}"
    return Target(_dressed(segmenters, scales, flips, crf), title, meaning.palette, key)


def _dressed(segmenters: list[Segmenter], scales: Sequence[float], flips: bool, crf: str | None) -> Segmenter:
    """One segmenter out of several, with the CRF on top where it is asked for."""
    one = segmenters[0]
    if len(segmenters) > 1 or flips:
        told = [f"x {scale:g}" for scale in scales if len(scales) > 1] + ["flip"] * flips
        one = Averaged(segmenters, flips, f"({', '.join(told)})")
    return one if crf is None else Refined(one, crf)
