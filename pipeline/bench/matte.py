"""What do better mattes gain and cost, at 720p on one core, each beside what it replaces?

The scenes are composed of known parts: one picture cut out by a known alpha, in front of another. So it is known what
the background would be had the subject not been there, and what the subject's colours are. The trap: behind the
subject the background is unknown to every method, and a blur reaches there; `error` says how far the whole is off in
the ring around the subject, `bleed` how much of the subject's colour arrives there.
"""

import importlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.data.datasets import DatasetOptions, open_dataset
from engines.geometry import fit, tensor_of
from engines.machine import machine_facts
from engines.metrics.boundary import BOUNDARY_PX, RADII_PX, matched_boundaries
from engines.names import resolve
from engines.runtime import open_engine
from engines.spec import INPUT_NAME
from pipeline.effects.composite import Compositor
from pipeline.effects.foreground import ForegroundCompositor
from pipeline.effects.gaussian import BackgroundGaussian, FastGaussian
from pipeline.matte.edges import GuidedEdges
from pipeline.sources.demo import PORTRAIT

__all__ = ["GOALS", "Scene", "bench_matte", "bleed", "error_in", "ring_of", "scenes"]

WIDTH, HEIGHT = 1280, 720
ENGINE_WIDTH, ENGINE_HEIGHT, STRIDE = 512, 288, 4
SIGMA_PX = 12.0
RING_PX = 20
"""Width of the ring around the subject in which its colour is looked for."""
GOALS = {"blur_ms": 3.0, "bleed_ratio": 0.25}
ROUNDS = 25
GREEN_BGR = (64, 177, 0)
PICTURES = ("coffee", "chelsea", "rocket")
"""Of scikit-image, in the public domain; left out where that is not installed."""

Image = NDArray[np.uint8]
Alpha = NDArray[np.uint8]


@dataclass(frozen=True)
class Scene:
    """A subject of known alpha and colour before a known background, all (height, width[, 3])."""

    name: str
    alpha: Alpha
    subject_bgr: Image
    """Its colours, also where alpha is nothing."""
    background_bgr: Image

    @property
    def image_bgr(self) -> Image:
        """What a camera would see."""
        return _over(self.subject_bgr, self.alpha, self.background_bgr)

    def engine_alpha(self) -> Alpha:
        """What a perfect network would say: one number for `STRIDE` x `STRIDE` of its pixels, enlarged."""
        cells = (ENGINE_WIDTH // STRIDE, ENGINE_HEIGHT // STRIDE)
        small = cv2.resize(self.alpha, cells, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, (ENGINE_WIDTH, ENGINE_HEIGHT), interpolation=cv2.INTER_LINEAR), np.uint8)


def scenes(height: int = HEIGHT, width: int = WIDTH) -> list[Scene]:
    """Head and shoulders, with strands of hair, before each picture that is there."""
    portrait = cv2.imread(str(PORTRAIT), cv2.IMREAD_COLOR)
    pictures = {"portrait": np.asarray(portrait, np.uint8)}
    try:
        data: Any = importlib.import_module("skimage.data")
        pictures |= {name: np.ascontiguousarray(getattr(data, name)()[..., 2::-1]) for name in PICTURES}
    except ImportError:
        pictures["turned"] = np.ascontiguousarray(pictures["portrait"][::-1])
    names = list(pictures)
    covering = [_cover(pictures[name], height, width) for name in names]
    alpha = _head_and_shoulders(height, width)
    return [Scene(f"{names[i]} before {names[i - 1]}", alpha, covering[i], covering[i - 1]) for i in range(len(names))]


def ring_of(alpha: Alpha, width_px: float = RING_PX) -> NDArray[np.bool_]:
    """Pixels without subject, at most so far from one that has some."""
    distance = cv2.distanceTransform((alpha == 0).astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray((distance > 0) & (distance <= width_px))


def error_in(where: NDArray[np.bool_], painted: Image, wanted: Image) -> float:
    """Mean difference in levels."""
    return float(np.abs(painted[where].astype(np.int16) - wanted[where]).mean())


def bleed(scene: Scene, background_of: Callable[[Image], Image]) -> float:
    """How much of the subject's colour arrives in the ring of 20 px around it, as a share of 1.

    The picture is made twice, the second time with the subject's colours inverted: what changes in the ring has bled
    there, and nothing else has.

    Args:
        scene: whose ring.
        background_of: what is measured: a picture's background, as it is shown.
    """
    inverted = np.asarray(255 - scene.subject_bgr, np.uint8)
    ring, inside = ring_of(scene.alpha), scene.alpha == 255
    painted = background_of(scene.image_bgr).copy()
    repainted = background_of(_over(inverted, scene.alpha, scene.background_bgr))
    return error_in(ring, painted, repainted) / error_in(inside, scene.subject_bgr, inverted)


def bench_matte(*, data: Path | None, engine: str) -> tuple[dict[str, Any], str]:
    """Measure blur, colours and edges on composed scenes; edges also on a labelled folder.

    Args:
        data: a folder with `images` and `masks`; None: composed scenes alone.
        engine: what finds the subject in `data`.

    Returns:
        Figures, and a table for people. `ms` is the thread's own processor time: a busy machine lies less about it.
    """
    n_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        composed = scenes()
        work = {"blur": _blur(composed), "replace": _replace(composed), "edges": _edges(composed)}
        if data is not None:
            work[f"edges, {engine} on {data.name}"] = _edges_of(engine, data)
    finally:
        cv2.setNumThreads(n_threads)
    figures = {"size": [WIDTH, HEIGHT], "scenes": [scene.name for scene in composed], "work": work, "goals": GOALS}
    return {**figures, "machine": machine_facts()}, _table(work)


def _blur(composed: list[Scene]) -> dict[str, Any]:
    """A plain Gaussian against one that leaves the subject out; by true alphas, and by an engine's."""
    plain, free = FastGaussian(HEIGHT, WIDTH, SIGMA_PX), BackgroundGaussian(HEIGHT, WIDTH, SIGMA_PX)
    guided = GuidedEdges(HEIGHT, WIDTH, ENGINE_HEIGHT, ENGINE_WIDTH)
    out, wanted, alpha = (np.empty(shape, np.uint8) for shape in [(HEIGHT, WIDTH, 3)] * 2 + [(HEIGHT, WIDTH)])

    def plainly(image_bgr: Image) -> Image:
        plain.blur(image_bgr, out)
        return out

    rows: dict[str, dict[str, list[float]]] = {}
    for scene in composed:
        image_bgr, ring = scene.image_bgr, ring_of(scene.alpha)
        guided.refine(scene.engine_alpha(), image_bgr, alpha)

        def freely(image_bgr: Image, by: Alpha = scene.alpha) -> Image:
            free.blur(image_bgr, by, out)
            return out

        plain.blur(scene.background_bgr, wanted)

        def by_engine(image_bgr: Image) -> Image:
            free.blur(image_bgr, alpha, out)
            return out

        ways = {"plain": plainly, "free": freely, "free, engine's alpha": by_engine}
        for name, way in ways.items():
            row = rows.setdefault(name, {"bleed": [], "error": []})
            row["bleed"].append(bleed(scene, way))
            row["error"].append(error_in(ring, way(image_bgr), wanted))
    image_bgr, true = composed[-1].image_bgr, composed[-1].alpha
    ms = _ms({"plain": lambda: plain.blur(image_bgr, out), "free": lambda: free.blur(image_bgr, true, out)})
    return _rows(rows, {**ms, "free, engine's alpha": ms["free"]})


def _replace(composed: list[Scene]) -> dict[str, Any]:
    """The captured colour at soft edges against the subject's own, before green."""
    captured, estimated = Compositor(HEIGHT, WIDTH), ForegroundCompositor(HEIGHT, WIDTH)
    green = np.full((HEIGHT, WIDTH, 3), GREEN_BGR, np.uint8)
    rows: dict[str, dict[str, list[float]]] = {}
    for scene in composed:
        soft = (scene.alpha > 0) & (scene.alpha < 255)
        wanted = _over(scene.subject_bgr, scene.alpha, green)
        for name, compositor in (("captured colour", captured), ("estimated colour", estimated)):
            out = green.copy()
            compositor.over(scene.image_bgr, scene.alpha, out)
            rows.setdefault(name, {"error": []})["error"].append(error_in(soft, out, wanted))
    image_bgr, alpha, out = composed[-1].image_bgr, composed[-1].alpha, green.copy()
    return _rows(
        rows,
        _ms(
            {
                "captured colour": lambda: captured.over(image_bgr, alpha, out),
                "estimated colour": lambda: estimated.over(image_bgr, alpha, out),
            }
        ),
    )


def _edges(composed: list[Scene]) -> dict[str, Any]:
    """Enlarged plainly against guided, from a perfect answer of a network's size."""
    samples = [(scene.image_bgr, scene.engine_alpha(), scene.alpha) for scene in composed]
    rows: dict[str, dict[str, list[float]]] = {}
    for sample in samples:
        _score_edges(*sample, rows)
    image_bgr, small, out = samples[-1][0], samples[-1][1], np.empty((HEIGHT, WIDTH), np.uint8)
    guided = GuidedEdges(HEIGHT, WIDTH, ENGINE_HEIGHT, ENGINE_WIDTH)
    ms = _ms(
        {
            "linear": lambda: cv2.resize(small, (WIDTH, HEIGHT), dst=out, interpolation=cv2.INTER_LINEAR),
            "guided": lambda: guided.refine(small, image_bgr, out),
        }
    )
    return _rows(rows, ms)


def _edges_of(engine: str, folder: Path) -> dict[str, Any]:
    """The same from a real engine's alpha, at the pictures' own sizes."""
    spec = resolve(engine)
    rows: dict[str, dict[str, list[float]]] = {}
    shape = (spec.input.height, spec.input.width)
    alpha = np.empty((1, *shape), np.uint8)
    dataset = open_dataset(DatasetOptions(path=str(folder)), len(spec.output.classes))
    with open_engine(spec, outputs=("alpha",), n_threads=1) as opened:
        for index in range(len(dataset)):
            sample = dataset[index]
            image_bgr, label_map = sample.image_bgr, sample.label_map
            opened.infer({INPUT_NAME: tensor_of(image_bgr, spec.input)[None]}, {"alpha": alpha})
            height, width = image_bgr.shape[:2]
            inner = fit(height, width, spec.input).crop(alpha[0])
            truth = np.where(label_map == spec.output.subject, 255, 0).astype(np.uint8)
            _score_edges(image_bgr, np.ascontiguousarray(inner), truth, rows)
    return _rows(rows, {})


def _score_edges(image_bgr: Image, small: Alpha, truth: Alpha, rows: dict[str, dict[str, list[float]]]) -> None:
    height, width = truth.shape
    guided = np.empty_like(truth)
    GuidedEdges(height, width, *small.shape).refine(small, image_bgr, guided)
    linear = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    for name, alpha in (("linear", linear), ("guided", guided)):
        drawn, true = (alpha > 127).astype(np.uint8), (truth > 127).astype(np.uint8)
        counts = matched_boundaries(drawn, true, 2, [1])[RADII_PX.index(BOUNDARY_PX), 1]
        right, n_drawn, found, n_true = (int(count) for count in counts)
        # F of right / drawn and found / true; one outline in two pictures has about as many pixels in both.
        precision, recall = right / max(1, n_drawn), found / max(1, n_true)
        row = rows.setdefault(name, {"boundary_f": [], "iou": [], "error": []})
        row["boundary_f"].append(2 * precision * recall / max(1e-9, precision + recall))
        row["iou"].append(np.count_nonzero(drawn & true) / max(1, int(np.count_nonzero(drawn | true))))
        row["error"].append(float(np.abs(alpha.astype(np.int16) - truth).mean()))


def _ms(acts: dict[str, Callable[[], object]]) -> dict[str, dict[str, float]]:
    """Processor time of each, in turns."""
    times: dict[str, list[float]] = {name: [] for name in acts}
    for _ in range(ROUNDS):
        for name, act in acts.items():
            act()  # what the other left in the caches is not this one's to pay for
            begin_ns = time.thread_time_ns()
            act()
            times[name].append((time.thread_time_ns() - begin_ns) / 1e6)
    return {name: {"ms": statistics.median(found), "ms_least": min(found)} for name, found in times.items()}


def _rows(rows: dict[str, dict[str, list[float]]], ms: dict[str, dict[str, float]]) -> dict[str, Any]:
    means = {name: {key: statistics.fmean(found) for key, found in row.items()} for name, row in rows.items()}
    return {
        name: {key: round(value, 4) for key, value in (row | ms.get(name, {})).items()} for name, row in means.items()
    }


def _table(work: dict[str, Any]) -> str:
    lines = []
    for name, rows in work.items():
        lines.append(name)
        for way, row in rows.items():
            lines.append(f"  {way:<22}" + "  ".join(f"{key} {value:.4g}" for key, value in row.items()))
    blur = work["blur"]
    ratio = blur["free"]["bleed"] / blur["plain"]["bleed"]
    lines.append(f"bleed of the blur: {ratio:.3f} of the plain one's (goal {GOALS['bleed_ratio']})")
    lines.append("ms: processor time of one thread; error: levels of 255")
    return "\n".join(lines)


def _over(front_bgr: Image, alpha: Alpha, behind_bgr: Image) -> Image:
    share = alpha[..., None].astype(np.float32) / 255
    return np.rint(front_bgr * share + behind_bgr * (1 - share)).astype(np.uint8)


def _cover(picture: Image, height: int, width: int) -> Image:
    scale = max(width / picture.shape[1], height / picture.shape[0])
    size = (max(width, round(picture.shape[1] * scale)), max(height, round(picture.shape[0] * scale)))
    enlarged = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    return np.ascontiguousarray(enlarged[top : top + height, left : left + width])


def _head_and_shoulders(height: int, width: int) -> Alpha:
    """The same every time: two ellipses and 120 strands of hair, in a lens's softness."""
    alpha = np.zeros((height, width), np.uint8)
    unit, middle = height / 720, width // 2
    head = (round(130 * unit), round(170 * unit))
    centre = (middle, round(290 * unit))
    cv2.ellipse(alpha, centre, head, 0, 0, 360, 255, -1)
    cv2.ellipse(alpha, (middle, round(760 * unit)), (round(330 * unit), round(300 * unit)), 0, 0, 360, 255, -1)
    rng = np.random.default_rng(3)
    for angle in rng.uniform(np.pi, 2 * np.pi, 120):
        outwards = np.array([np.cos(angle), np.sin(angle)])
        root = np.array(centre) + head * outwards
        tip = root + (outwards + rng.normal(0, 0.4, 2)) * rng.uniform(10, 45) * unit
        cv2.line(alpha, (int(root[0]), int(root[1])), (int(tip[0]), int(tip[1])), 255, 1, cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(alpha, (0, 0), 1.2 * unit), np.uint8)
