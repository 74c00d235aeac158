"""Do masks hold still, and do they keep up? Flicker, mIoU, lag and cost of the temporal fusion, raw beside fused.

Flicker is measured on clips without labels, mIoU on a sequence with them, lag on a cut-out that moves at known speeds;
all with one engine, at its size, without letterbox bars. The trap: the milliseconds of a busy machine; the processor's
own time of the thread stands beside them.
"""

import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.data.datasets import DatasetOptions, open_dataset
from engines.errors import EngineError
from engines.geometry import Geometry, fit, resize_into
from engines.machine import machine_facts
from engines.metrics import Tally, TemporalTally
from engines.predict import segment_image
from engines.runtime import Engine, open_engine
from engines.spec import INPUT_NAME
from engines.temporal import TemporalFusion
from engines.temporal.lag import Lag, lag_of
from engines.temporal.masks import MaskWriter
from engines.temporal.mover import mover_frames
from pipeline.bench.pictures import pictures_of
from pipeline.sources.demo import PORTRAIT

__all__ = ["GOALS", "SPEEDS_PX_S", "bench_temporal"]

SPEEDS_PX_S = (30, 100, 200, 500, 1000, 2000)
"""Of the mover, in pixels of the engine's input, at `RATE_HZ`. The slowest is the hardest for a memory: it moves by a
pixel a frame. It is not in the pooled figure, which is for 100 to 2000."""
POOLED_FROM_PX_S = 100
RATE_HZ = 30
MOVER_FRAMES = 24
"""For each speed, in as many passes as that takes."""
GOALS = {"flips": -0.5, "miou_points": -0.3, "lag_px_p95": 1.0, "ms": 2.0}

Image = NDArray[np.uint8]


@dataclass
class _Both:
    """One picture seen raw and fused, inside the bars."""

    picture_bgr: Image
    raw: Image
    fused: Image


@dataclass
class _Bench:
    """An engine and the fusion behind it."""

    engine: Engine
    stability: float
    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        spec = self.engine.spec
        self._tensor_bgr = np.empty(spec.input.shape(), np.uint8)
        self._logits = np.empty(spec.output_shape("logits"), np.float32)
        self._writer = MaskWriter(spec.output)

    def see(self, pictures: Iterable[Image]) -> Iterator[_Both]:
        """Raw and fused masks of pictures that follow one another; arrays are fresh."""
        fusion = TemporalFusion(self.stability)
        for picture_bgr in pictures:
            height, width = picture_bgr.shape[:2]
            geometry = fit(height, width, self.engine.spec.input)
            resize_into(picture_bgr, geometry, self._tensor_bgr[0])
            self.engine.infer({INPUT_NAME: self._tensor_bgr}, {"logits": self._logits})
            wall_ns, cpu_ns = time.perf_counter_ns(), time.thread_time_ns()
            fused = fusion.fuse(self._logits[0], self._tensor_bgr[0])
            self.cpu_ms.append((time.thread_time_ns() - cpu_ns) * 1e-6)
            self.wall_ms.append((time.perf_counter_ns() - wall_ns) * 1e-6)
            tensor_bgr = np.ascontiguousarray(geometry.crop(self._tensor_bgr[0]))
            yield _Both(tensor_bgr, self._labels(self._logits[0], geometry), self._labels(fused, geometry))

    def _labels(self, logits: NDArray[np.float32], geometry: Geometry) -> Image:
        labels = np.empty(self._tensor_bgr.shape[1:3], np.uint8)
        self._writer.labels(logits, labels)
        return np.ascontiguousarray(geometry.crop(labels))


def bench_temporal(
    clips: Sequence[str], *, labelled: Path | None, engine: str, stability: float, max_frames: int
) -> tuple[dict[str, Any], str]:
    """Measure the temporal fusion.

    Args:
        clips: sources as on the command line, such as files of a camera that stands still.
        labelled: a folder with `images/` and `masks/` of one sequence, or None.
        engine: as on the command line; it needs a subject.
        stability: above 0.
        max_frames: of each clip.

    Returns:
        The figures, and a table for people.

    Raises:
        EngineError: an engine that has nothing to cut out.
    """
    cv2.setNumThreads(1)  # as in a worker on a small machine: the cost is one core's
    with open_engine(engine, n_threads=1) as opened:
        spec = opened.spec
        if spec.output.subject is None or len(spec.output.classes) != 2:
            raise EngineError(f"{spec.label}: lag is measured on a subject before a background; name such an engine")
        bench = _Bench(opened, stability)
        flicker = {_name(clip): _flicker(bench, clip, max_frames) for clip in clips}
        figures: dict[str, Any] = {
            "engine": spec.label,
            "stability": stability,
            "machine": machine_facts(),
            "goals": GOALS,
            "flicker": flicker,
            "flips": _pooled(list(flicker.values())),
            "miou": None if labelled is None else _miou(bench, labelled),
            "lag": _lag(bench),
        }
    figures["ms"] = {"wall": _percentiles(bench.wall_ms), "cpu": _percentiles(bench.cpu_ms)}
    return figures, _table(figures)


def _flicker(bench: _Bench, clip: str, max_frames: int) -> dict[str, Any]:
    # The raw labels take the place of the true ones: one tally then counts both on the same pixels.
    tally = TemporalTally(2)
    for index, both in enumerate(bench.see(pictures_of(clip, max_frames))):
        tally.add(f"{index:06d}", both.picture_bgr, both.fused, both.raw)
    steadiness = tally.steadiness()
    flips = tally.flips.tolist()
    return {
        "raw": {"flip_share": steadiness.true_flip_share, "warped_miou": steadiness.true_warped_miou},
        "fused": {"flip_share": steadiness.flip_share, "warped_miou": steadiness.warped_miou},
        "n_flips": {"raw": flips[1][0], "fused": flips[0][0], "still_pixels": flips[0][1]},
        "change": _change(flips[1][0], flips[0][0]),
        "n_pairs": steadiness.n_pairs,
    }


def _pooled(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    if not rows:
        return None
    raw, fused = (sum(row["n_flips"][name] for row in rows) for name in ("raw", "fused"))
    return {"raw": raw, "fused": fused, "change": _change(raw, fused)}


def _change(raw: int, fused: int) -> float | None:
    return fused / raw - 1 if raw else None


def _miou(bench: _Bench, folder: Path) -> dict[str, Any]:
    classes = bench.engine.spec.output.classes
    dataset = open_dataset(DatasetOptions(path=folder), len(classes))
    raw, fused = Tally(classes, ()), Tally(classes, ())
    pairs = [dataset[index] for index in range(len(dataset))]
    for pair, both in zip(pairs, bench.see(pair.image_bgr for pair in pairs), strict=True):
        height, width = pair.label_map.shape
        for tally, labels in ((raw, both.raw), (fused, both.fused)):
            at_size = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
            tally.add(np.asarray(at_size, np.uint8), pair.label_map)
    before, after = 100 * raw.scores().miou, 100 * fused.scores().miou
    return {"sequence": folder.name, "n": len(pairs), "raw": before, "fused": after, "points": after - before}


def _lag(bench: _Bench) -> dict[str, Any]:
    portrait_bgr = np.asarray(cv2.imread(str(PORTRAIT)), np.uint8)
    alpha = segment_image(bench.engine, portrait_bgr).alpha
    assert alpha is not None, "the engine has a subject"
    size = bench.engine.spec.input
    of_speed = {}
    all_lags: list[Lag] = []
    for speed_px_s in SPEEDS_PX_S:
        lags: list[Lag] = []
        n_seen = seed = 0
        while n_seen < MOVER_FRAMES:
            step_px, n_left = speed_px_s / RATE_HZ, MOVER_FRAMES - n_seen
            frames = mover_frames(
                portrait_bgr, alpha, size.height, size.width, step_px=step_px, n_frames=max(2, n_left), seed=seed
            )
            # The first frame of a pass has no past and cannot lag.
            found = [lag_of(both.raw, both.fused) for both in bench.see(frames)]
            lags += [lag for lag in found[1:] if lag is not None]
            n_seen, seed = n_seen + len(found), seed + 1
        if speed_px_s >= POOLED_FROM_PX_S:
            all_lags += lags
        of_speed[str(speed_px_s)] = _lag_figures(lags)
    return {"px_p95": _lag_figures(all_lags), "of_speed_px_s": of_speed}


def _lag_figures(lags: Sequence[Lag]) -> dict[str, float | int]:
    """95th percentiles in pixels of the engine's input."""
    displaced = np.percentile([abs(lag.displacement_px) for lag in lags], 95)
    edge = np.percentile([lag.edge_px for lag in lags], 95)
    behind = statistics.fmean(lag.displacement_px for lag in lags)
    return {"displacement": float(displaced), "edge": float(edge), "mean_behind": behind, "n": len(lags)}


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    return {f"p{p}": float(np.percentile(values, p)) for p in (50, 95)}


def _name(clip: str) -> str:
    return Path(clip).name


def _table(figures: dict[str, Any]) -> str:
    lines = [f"{figures['engine']}, stability {figures['stability']:g}", ""]
    if figures["flicker"]:
        lines.append("clip                          flips on still pixels        warped consistency")
        lines.append("                              raw ‰  fused ‰  change       raw      fused")
    for name, row in figures["flicker"].items():
        raw, fused = row["raw"], row["fused"]
        lines.append(
            f"{name:<28}{1e3 * raw['flip_share']:7.3f}{1e3 * fused['flip_share']:9.3f}{_percent(row['change']):>8}"
            f"{raw['warped_miou']:12.4f}{fused['warped_miou']:10.4f}"
        )
    if figures["flips"] is not None:
        lines += [f"all clips: {_percent(figures['flips']['change'])} flips (goal -50 % or better)", ""]
    if figures["miou"] is not None:
        miou = figures["miou"]
        lines.append(
            f"mIoU on {miou['sequence']} ({miou['n']}): {miou['raw']:.2f} raw, {miou['fused']:.2f} fused, "
            f"{miou['points']:+.2f} points (goal -0.3 or better)"
        )
    lines.append("lag behind the raw mask, 95th percentile, px of the engine's input (goal 1)")
    for speed, row in (*figures["lag"]["of_speed_px_s"].items(), ("100+", figures["lag"]["px_p95"])):
        lines.append(f"  {speed:>5} px/s: displaced {row['displacement']:.2f}, worse edge {row['edge']:.2f}")
    ms = figures["ms"]
    told = ", ".join(f"{kind} p50 {ms[kind]['p50']:.2f} p95 {ms[kind]['p95']:.2f}" for kind in ("wall", "cpu"))
    lines.append(f"ms a frame: {told} (goal 2)")
    return "\n".join(lines)


def _percent(change: float | None) -> str:
    return "-" if change is None else f"{100 * change:+.0f} %"
