"""The pass over the data: pictures of one size are a clip, a few clips are a run, and every row is scored.

The trap: memory. Pictures are read a batch at a time, and a batch is small whatever the data set's size.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np

from configs import ConfigError, near_matches
from engines.data.datasets import DatasetOptions, open_dataset
from engines.data.pairs import Dataset, Pair
from engines.errors import BackendUnavailable, EngineMismatch
from engines.evaluation.segmenters import Segmenter, label_map_of
from engines.metrics import Tally
from engines.names import resolve
from engines.runtime import open_engine
from engines.runtime.checked import PrecisionHint
from engines.spec import EngineSpec
from pipeline.parity.clips import write_h264, write_lossless
from pipeline.parity.corridor import Seen, Way, played
from pipeline.parity.diagnosis import Diagnosis, Sample, by_labels, by_tensors
from pipeline.parity.faults import FAULTS
from pipeline.parity.reference import Expected, Image, Reference, p2_label_map

__all__ = ["Measured", "Row", "measure"]

CLIPS_A_RUN = 4
"""Streams at once: the shared stages start once for all of them."""
BATCH_BYTES = 64 << 20
"""Of pictures in memory; a run plays at most so many."""
N_SAMPLES = 12
"""Pictures that a diagnosis looks at."""

LOSSLESS = Way("lossless", "streamed, lossless")
H264 = Way("h264", "streamed, H.264", is_lossless=False)
OWN = Way("own", "streamed, own arithmetic", arithmetic="auto")


@dataclass
class Row:
    """One line of the table."""

    name: str
    title: str
    p2: Tally
    """Logits brought to the picture's size, then the class."""
    shown: Tally | None = None
    """As render shows it; None where nothing is shown."""
    backend: str = ""
    n_tensors: int = 0
    n_equal: int = 0
    """Tensors that are those of the reference, bit by bit."""
    diagnosis: Diagnosis | None = None
    samples: list[Sample] = field(default_factory=list)
    """Pictures whose tensor differed, the first ones."""


@dataclass
class Measured:
    """All rows, and what they are of."""

    engine: str
    n_images: int
    rows: dict[str, Row]
    """By name: `checkpoint` (if there is one), `onnx`, `lossless`, and unless a fault is seeded `h264`, `own`."""
    seeded: str = ""
    same_arithmetic: str = ""
    """What the engine calculates in by itself when that is float32 anyway, so that `own` would be `lossless`."""


def measure(
    engine: str,
    data: DatasetOptions,
    *,
    checkpoint: Path | None = None,
    backend: str = "auto",
    limit: int | None = None,
    seed_fault: str = "",
    progress: Callable[[str], None] = lambda _: None,
) -> Measured:
    """Score the rows on a labelled set.

    Args:
        engine: as on the command line.
        data: the labelled set.
        checkpoint: what the engine was exported from; its row needs torch.
        backend: of the stream; the row `onnx` is always ONNX Runtime.
        limit: at most so many pictures, the first ones.
        seed_fault: a key of `FAULTS`, made in the lossless stream; the other streams are left out.
        progress: told what goes on.

    Raises:
        ConfigError: no such fault.
        EngineError: the engine, the checkpoint or the data cannot be read, or do not fit one another.
        StreamError: a run failed or lost a frame.
    """
    if seed_fault and seed_fault not in FAULTS:
        raise ConfigError(f"--seed-fault {seed_fault}: no such fault; {near_matches(seed_fault, FAULTS)}")
    spec = resolve(engine)
    dataset = open_dataset(data, len(spec.output.classes))
    n_images = min(len(dataset), limit or len(dataset))
    if seed_fault:
        own, ways = "", [Way("lossless", f"streamed, {seed_fault} seeded", preprocess=FAULTS[seed_fault])]
    else:
        own = _own_arithmetic(spec, backend)
        ways = [LOSSLESS, H264] if own else [LOSSLESS, H264, OWN]
    with contextlib.ExitStack() as stack:
        reference = stack.enter_context(Reference(spec))
        rows = {"onnx": _row(spec, "onnx", "ONNX graph", is_shown=True, backend=reference.title)}
        network = stack.enter_context(_network(checkpoint, spec)) if checkpoint is not None else None
        if network is not None:
            rows = {
                "checkpoint": _row(spec, "checkpoint", "checkpoint", is_shown=False, backend="PyTorch fp32"),
                **rows,
            }
        rows.update({way.name: _row(spec, way.name, way.title, is_shown=True) for way in ways})
        doubtful: list[tuple[Image, Image]] = []
        done = 0
        for batch in _batches(dataset, n_images):
            expected = [_in_process(pair, reference, network, rows, doubtful) for pair in batch]
            for way in ways:
                progress(f"{done} of {n_images} pictures; {way.title}")
                _through_corridor(batch, expected, engine, spec, backend, way, rows[way.name])
            done += len(batch)
        for way in ways:
            if rows[way.name].samples:
                rows[way.name].diagnosis = by_tensors(rows[way.name].samples, spec)
        if doubtful:
            rows["checkpoint"].diagnosis = by_labels(doubtful, reference)
    return Measured(spec.label, n_images, rows, seed_fault, own)


def _row(spec: EngineSpec, name: str, title: str, *, is_shown: bool, backend: str = "") -> Row:
    classes = spec.output.classes
    return Row(name, title, Tally(classes, ()), Tally(classes, ()) if is_shown else None, backend)


def _own_arithmetic(spec: EngineSpec, backend: str) -> str:
    """The engine's words for itself when its own choice is what it is told with `f32`; else nothing."""
    hints: tuple[PrecisionHint, ...] = ("auto", "f32")
    told = []
    for hint in hints:
        with open_engine(spec, backend=backend, outputs=("logits",), precision_hint=hint) as opened:
            told.append(opened.backend)
    return told[0] if told[0] == told[1] else ""


@contextlib.contextmanager
def _network(checkpoint: Path, spec: EngineSpec) -> Iterator[Segmenter]:
    """The checkpoint under P2 at the engine's size."""
    try:
        import engines.evaluation.networks  # noqa: F401 - brings torch in, which may not be there
    except ImportError as error:
        raise BackendUnavailable(
            f"--checkpoint {checkpoint} needs torch ({error}); pip install 'segstream[train]', or leave it out"
        ) from error
    from engines.evaluation.targets import opened

    with opened(str(checkpoint), protocol="P2", size=spec.input.size) as target:
        if target.segmenter.classes != spec.output.classes:
            raise EngineMismatch(
                f"{checkpoint} has classes {', '.join(target.segmenter.classes)}, {spec.label} has "
                f"{', '.join(spec.output.classes)}; name the checkpoint that the engine was exported from"
            )
        yield target.segmenter


def _batches(dataset: Dataset, n_images: int) -> Iterator[list[Pair]]:
    """Pictures in the order of their sizes, at most CLIPS_A_RUN sizes and BATCH_BYTES at once."""
    sizes = [dataset[index].label_map.shape for index in range(n_images)]
    order = sorted(range(n_images), key=lambda index: (sizes[index], index))
    batch: list[Pair] = []
    for index in order:
        n_sizes = len({pair.label_map.shape for pair in batch} | {sizes[index]})
        n_bytes = sum(pair.image_bgr.nbytes for pair in batch)
        if batch and (n_sizes > CLIPS_A_RUN or n_bytes > BATCH_BYTES):
            yield batch
            batch = []
        batch.append(dataset[index])
    if batch:
        yield batch


def _in_process(
    pair: Pair,
    reference: Reference,
    network: Segmenter | None,
    rows: dict[str, Row],
    doubtful: list[tuple[Image, Image]],
) -> Expected:
    """Score a picture without a corridor; `doubtful` collects those that checkpoint and graph see differently."""
    expected = reference.expected(pair.image_bgr)
    rows["onnx"].p2.add(expected.label_map, pair.label_map)
    if (shown := rows["onnx"].shown) is not None:
        shown.add(expected.shown, pair.label_map)
    if network is not None:
        label_map = label_map_of(np.ascontiguousarray(network.logits(pair.image_bgr).transpose(2, 0, 1)))
        rows["checkpoint"].p2.add(label_map, pair.label_map)
        # Rounding flips a pixel in ten thousand; more has a reason.
        if len(doubtful) < N_SAMPLES and (label_map != expected.label_map).mean() > 1e-3:
            doubtful.append((pair.image_bgr, label_map))
    return expected


def _through_corridor(
    batch: Sequence[Pair], expected: Sequence[Expected], engine: str, spec: EngineSpec, backend: str, way: Way, row: Row
) -> None:
    """Write the clips, play them, score what came out."""
    with tempfile.TemporaryDirectory(prefix="segstream-parity-") as text:
        folder = Path(text)
        clips, places = [], []
        write = write_lossless if way.is_lossless else write_h264
        for stream, (_, group) in enumerate(groupby(range(len(batch)), key=lambda n: batch[n].label_map.shape)):
            members = list(group)
            clips.append(folder / f"in{stream}.mkv")
            write(clips[-1], (batch[n].image_bgr for n in members))
            places += [(stream, sequence, n) for sequence, n in enumerate(members)]
        run = played(clips, len(batch), engine, backend, way, folder)
        row.backend = run.backend
        for stream, sequence, n in places:
            beside = [m for s, q, m in places if s == stream and abs(q - sequence) == 1]
            neighbours = tuple(expected[m].tensor_bgr for m in beside)
            _score(batch[n], expected[n], run.seen(stream, sequence), neighbours, spec, row)


def _score(
    pair: Pair, expected: Expected, seen: Seen, neighbours: tuple[Image, ...], spec: EngineSpec, row: Row
) -> None:
    height, width = pair.label_map.shape
    # The size of the stream: H.264 may have added a line or a column.
    label_map = p2_label_map(seen.logits, spec, *seen.label_map.shape)[:height, :width]
    row.p2.add(label_map, pair.label_map)
    if row.shown is not None:
        row.shown.add(seen.label_map[:height, :width], pair.label_map)
    row.n_tensors += 1
    if np.array_equal(seen.tensor_bgr, expected.tensor_bgr):
        row.n_equal += 1
    elif len(row.samples) < N_SAMPLES:
        row.samples.append(Sample(pair.image_bgr, expected.tensor_bgr, seen.tensor_bgr, neighbours))
