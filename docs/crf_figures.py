"""Draws docs/crf.png and docs/crf-before-after.jpg, in a checkout with the extras dev and crf.

The first from docs/bench/crf.json (`run_stream.py bench crf --json docs/bench/crf.json`), the second from the demo's
portrait and the shipped engine.
"""

import json
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from engines.crf import PRESETS, CrfParams
from engines.crf.stream import StreamCrf
from engines.crf_gate import gate_of
from engines.geometry import fit, tensor_of
from engines.runtime import open_engine
from engines.spec import INPUT_NAME

DOCS = Path(__file__).resolve().parent
PORTRAIT = DOCS.parent / "pipeline" / "sources" / "astronaut.jpg"
MARKS = {"fast": "o", "exact": "s"}
GROUND = np.array([70, 160, 60])
"""What the background is painted with, BGR."""


def plot() -> None:
    """Cost against agreement, a mark for each method and work."""
    mpl.use("agg")
    from matplotlib import pyplot as plt

    rows = [row for row in json.loads((DOCS / "bench" / "crf.json").read_text())["rows"] if "video" not in row["work"]]
    figure, axes = plt.subplots(figsize=(8, 4.5), dpi=110)
    works = list(dict.fromkeys(row["work"] for row in rows))
    for number, work in enumerate(works):
        for row in rows:
            if row["work"] == work:
                off = max(100 * (1 - row["agreement"]), 1e-3)
                label = work if row["method"] == "fast" else None
                axes.plot(row["ratio"], off, MARKS[row["method"]], color=f"C{number}", markersize=8, label=label)
    axes.set(
        xscale="log", yscale="log", xlabel="times as fast as pydensecrf, one thread",
        ylabel="labels that differ from pydensecrf's, %",
    )  # fmt: skip
    ticks = [1, 2, 3, 5, 10, 20]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.grid(alpha=0.3)
    axes.set_title("circle: fast, square: exact (0.001 stands for less)", fontsize=10)
    axes.legend(fontsize=7, loc="center left")
    figure.tight_layout()
    figure.savefig(DOCS / "crf.png")


def before_after() -> None:
    """The portrait without a CRF, with both presets and with what the manifest notes."""
    picture = cv2.imread(str(PORTRAIT))
    assert picture is not None, PORTRAIT
    with open_engine("person", outputs=("logits",)) as engine:
        spec = engine.spec
        tensor_bgr = tensor_of(picture, spec.input)
        logits = np.empty(spec.output_shape("logits"), np.float32)
        engine.infer({INPUT_NAME: tensor_bgr[None]}, {"logits": logits})
    noted = gate_of(spec).setting
    settings: list[tuple[str, CrfParams | None, int]] = [
        ("no CRF", None, 0),
        *((preset, PRESETS[preset], 5) for preset in ("deeplab", "crf-readme")),
    ]
    if noted is not None:
        settings.append(("as tuned: --crf auto", noted.params, noted.iterations))
    geometry = fit(*picture.shape[:2], spec.input)
    shown = []
    for name, params, iterations in settings:
        crf = StreamCrf(params or PRESETS["deeplab"], iterations, "exact")
        alpha = geometry.crop(crf.refine(logits[0], tensor_bgr)[1])
        shown.append(_painted(picture, alpha, name))
    cv2.imwrite(str(DOCS / "crf-before-after.jpg"), np.hstack(shown), [cv2.IMWRITE_JPEG_QUALITY, 88])


def _painted(picture: NDArray[np.uint8], alpha: NDArray[np.float32], name: str) -> NDArray[np.uint8]:
    large = cv2.resize(alpha, (picture.shape[1], picture.shape[0]), interpolation=cv2.INTER_LINEAR)[..., None]
    painted = np.asarray(picture * large + GROUND * (1 - large), np.uint8)
    small = np.asarray(cv2.resize(painted, (380, 380 * picture.shape[0] // picture.shape[1])), np.uint8)
    cv2.putText(small, name, (8, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 2, cv2.LINE_AA)
    return small


if __name__ == "__main__":
    plot()
    before_after()
