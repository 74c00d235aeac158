"""Does a dense CRF help an engine? Searched on half of the pictures, confirmed on the other half.

The network runs once; every setting is tried on what it said, at the engine's size as in a stream, and scored at the
pictures' own. The trap: neighbouring frames of one video lie in both halves and make the confirmation worthless.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engines.crf import PRESETS
from engines.crf.stream import StreamCrf
from engines.errors import DataError
from engines.evaluation.crf_search import MOST_TRIALS, Trial, search
from engines.evaluation.kept import KeptPicture, labels_of
from engines.evaluation.threads import in_order, scoring_threads
from engines.manifest import CrfGain, CrfSetting
from engines.metrics import Counts, Metric, Scores, Tally
from engines.metrics.intervals import Interval, bootstrap
from engines.metrics.ratios import Floats, Ints, iou_of, mean_of
from engines.metrics.tally import scores_of_rows
from engines.spec import EngineSpec, InputSpec

__all__ = ["FEWEST", "Confirmation", "Tuning", "confirm", "miou_with", "tune"]

FEWEST = 8
"""Pictures; with fewer than four in each half an interval says nothing."""

Watch = Callable[[str, int], AbstractContextManager["Steps"]]
"""(what begins, how many steps it has at most) to what is told of each."""


class Steps(Protocol):
    """Told of progress."""

    def step(self) -> None:
        """One more is done."""
        ...


@dataclass(frozen=True)
class Confirmation:
    """One setting, or none, on the pictures that took no part in the search."""

    setting: CrfSetting | None
    scores: Scores
    ms: float
    """Processor time of a picture, the median; 0 without a CRF."""
    rows: Ints
    """A row of each picture, as `engines.metrics.tally.row_of`."""

    def gain_over(self, other: "Confirmation") -> tuple[tuple[float, Interval], tuple[float, Interval]]:
        """Differences of mIoU and of boundary F at 2 px, each with its 95 % interval, paired over pictures."""
        n_classes, half = len(self.scores.iou), self.rows.shape[1]

        def differences(pooled: Ints) -> Floats:
            mine, others = (scores_of_rows(part, n_classes) for part in (pooled[:, :half], pooled[:, half:]))
            return mine[:, [0, 2]] - others[:, [0, 2]]

        miou, boundary_f = bootstrap(np.concatenate([self.rows, other.rows], axis=1), differences)
        return (
            (self.scores.miou - other.scores.miou, miou),
            (self.scores.mean_boundary_f - other.scores.mean_boundary_f, boundary_f),
        )


@dataclass(frozen=True)
class Tuning:
    """What was tried, and what follows from it."""

    trials: tuple[Trial, ...]
    """Best first, on the searched half."""
    confirmed: tuple[Confirmation, ...]
    """On the other half: without a CRF, the presets, and the best of the search."""
    gain: CrfGain
    """Of the best over none, on the other half."""

    @property
    def setting(self) -> CrfSetting | None:
        """What `--crf auto` shall run: the best, if mIoU surely rises with it and boundary F does not surely fall."""
        helps = self.gain.miou_interval[0] > 0 and not self.gain.boundary_f_interval[1] < 0
        return self.trials[0].setting if helps else None


def tune(spec: EngineSpec, pictures: Sequence[KeptPicture], data: str, method: str, watch: Watch) -> Tuning:
    """Search, confirm, decide.

    Args:
        spec: the engine that saw the pictures.
        pictures: see `engines.evaluation.kept.keep`; names in order often mean one source after another, so every
            second one is searched on.
        data: how they are called in the manifest.
        method: of `engines.crf.METHODS`.

    Raises:
        DataError: fewer than `FEWEST` pictures.
    """
    if len(pictures) < FEWEST:
        raise DataError(f"{len(pictures)} pictures of {data}; expected at least {FEWEST}, better 40")
    searched, others = pictures[::2], pictures[1::2]
    classes, input_spec = spec.output.classes, spec.input
    with watch("search", MOST_TRIALS * len(searched)) as steps:
        trials = search(lambda setting: miou_with(setting, searched, classes, input_spec, steps.step), method)
    presets = [CrfSetting(**params.model_dump(), method=method) for params in PRESETS.values()]
    wanted = list(dict.fromkeys([*presets, trials[0].setting]))
    with watch("confirm", (1 + len(wanted)) * len(others)) as steps:
        without = confirm(None, others, classes, input_spec, steps.step)
        tried = [confirm(setting, others, classes, input_spec, steps.step) for setting in wanted]
    best = tried[wanted.index(trials[0].setting)]
    (miou, miou_interval), (boundary_f, boundary_f_interval) = best.gain_over(without)
    gain = CrfGain(
        data=data,
        images=len(others),
        width=input_spec.width,
        height=input_spec.height,
        miou=_rounded(miou),
        miou_interval=(_rounded(miou_interval[0]), _rounded(miou_interval[1])),
        boundary_f=_rounded(boundary_f),
        boundary_f_interval=(_rounded(boundary_f_interval[0]), _rounded(boundary_f_interval[1])),
    )
    return Tuning(tuple(trials), (without, *tried), gain)


def miou_with(
    setting: CrfSetting,
    pictures: Sequence[KeptPicture],
    classes: tuple[str, ...],
    input_spec: InputSpec,
    seen: Callable[[], None],
) -> float:
    """mIoU, pooled over the pictures, with a CRF after the network.

    Raises:
        EngineError: widths that are too small for the engine's input.
    """
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    for counts, _ in _counted(setting, pictures, Tally(classes, ()), input_spec):
        confusion += counts.confusion
        seen()
    return float(mean_of(iou_of(np.diagonal(confusion), confusion.sum(0), confusion.sum(1))))


def confirm(
    setting: CrfSetting | None,
    pictures: Sequence[KeptPicture],
    classes: tuple[str, ...],
    input_spec: InputSpec,
    seen: Callable[[], None],
) -> Confirmation:
    """All scores of a setting, or of no CRF."""
    metrics: tuple[Metric, ...] = ("boundary", "trimap", "intervals")
    tally, times_ms = Tally(classes, metrics), []
    for counts, ms in _counted(setting, pictures, tally, input_spec):
        tally.take(counts)
        times_ms.append(ms)
        seen()
    ms = 0.0 if setting is None else float(np.median(times_ms))
    return Confirmation(setting, tally.scores(), ms, np.stack(tally.per_image))


def _counted(
    setting: CrfSetting | None, pictures: Sequence[KeptPicture], tally: Tally, input_spec: InputSpec
) -> Iterator[tuple[Counts, float]]:
    """Counts and milliseconds of the CRF, picture by picture; a solver keeps its memory, so each thread has its own."""
    own = threading.local()

    def counted(picture: KeptPicture) -> tuple[Counts, float]:
        if setting is not None and not hasattr(own, "crf"):
            own.crf = _Timed(StreamCrf(setting.params, setting.iterations, setting.method))
        crf = None if setting is None else own.crf
        labels = labels_of(picture, crf, input_spec)
        return tally.count(labels, picture.truth), 0.0 if crf is None else crf.ms

    yield from in_order(counted, pictures, scoring_threads())


class _Timed:
    """A CRF that remembers how much processor time its last picture took."""

    def __init__(self, crf: StreamCrf) -> None:
        self._crf = crf
        self.ms = 0.0

    def refine(self, logits: NDArray[np.floating], tensor_bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As `StreamCrf.refine`."""
        start_ns = time.thread_time_ns()
        refined = self._crf.refine(logits, tensor_bgr)
        self.ms = (time.thread_time_ns() - start_ns) / 1e6
        return refined


def _rounded(value: float) -> float:
    return round(value, 4)
