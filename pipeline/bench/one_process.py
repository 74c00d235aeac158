"""What the corridor is compared with: the same work in one process, and each stage alone.

`naive` is what a tutorial would write, `tuned` is one process with our own engine, source and effect.
`stage:NAME` runs one stage flat out on its planes. Each runs in a fresh interpreter and prints JSON.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from engines.geometry import fit, resize_into
from engines.names import resolve
from engines.runtime import open_engine
from engines.spec import INPUT_NAME
from pipeline.layout import planes_of
from pipeline.timing import Histogram, fps

__all__ = ["main"]

_WARM_UP = 10
_SIGMA_PX = 12.0
_STAGE_SECONDS = 3.0


def main(what: str, clip: str, engine: str, effect: str, n_threads: str) -> None:
    """Entry point of the child process."""
    if what == "naive":
        told = _naive(clip, engine)
    elif what == "tuned":
        told = _tuned(clip, engine, effect, int(n_threads))
    else:
        told = _stage_alone(what.removeprefix("stage:"), clip, engine, effect, int(n_threads))
    json.dump(told, sys.stdout)


def _naive(clip: str, engine: str) -> dict[str, Any]:
    """cv2 read, ONNX Runtime with two threads, a full-size Gaussian blur, a float blend."""
    import cv2
    import onnxruntime

    spec = resolve(engine)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(str(spec.path), options, providers=["CPUExecutionProvider"])
    capture = cv2.VideoCapture(clip)

    def one() -> bool:
        read, image_bgr = capture.read()
        if not read:
            return False
        tensor = cv2.resize(image_bgr, spec.input.size)[None]
        alpha = session.run(["alpha"], {INPUT_NAME: tensor})[0][0]
        height, width = image_bgr.shape[:2]
        weight = cv2.resize(np.asarray(alpha), (width, height)).astype(np.float32)[..., None] / 255.0
        blurred = cv2.GaussianBlur(image_bgr, (0, 0), _SIGMA_PX)
        np.asarray(image_bgr * weight + blurred * (1.0 - weight)).astype(np.uint8)
        return True

    return _timed(one)


def _tuned(clip: str, engine: str, effect: str, n_threads: int) -> dict[str, Any]:
    """Our source, engine and effect, one after the other in one process."""
    from pipeline.effects import effect_from_text
    from pipeline.matte import MatteUpsampler
    from pipeline.sources import source_from_uri

    spec = resolve(engine)
    source = source_from_uri(clip).open()
    geometry = fit(source.format.height, source.format.width, spec.input)
    planes = {name: np.empty(p.shape, p.dtype) for name, p in planes_of(source.format, spec).items()}
    upsampler = MatteUpsampler(source.format, spec)
    painter = effect_from_text(effect).open(source.format)
    with open_engine(spec, outputs=("alpha",), n_threads=n_threads) as opened:

        def one() -> bool:
            grabbed = source.grab()
            if grabbed is None:
                return False
            grabbed.copy_into(planes["image_bgr"])
            resize_into(planes["image_bgr"], geometry, planes["tensor_bgr"])
            opened.infer({INPUT_NAME: planes["tensor_bgr"][None]}, {"alpha": planes["alpha"][None]})
            matte = upsampler.matte(planes["alpha"], None, planes["image_bgr"])
            painter.paint(planes["image_bgr"], matte, grabbed.pts_ns, planes["composite"])
            return True

        return _timed(one)


def _stage_alone(stage: str, clip: str, engine: str, effect: str, n_threads: int) -> dict[str, Any]:
    """One stage, flat out, over the planes of one slot; capture reads the clip."""
    import cv2

    from pipeline.sources import source_from_uri

    cv2.setNumThreads(1)
    spec = resolve(engine)
    source = source_from_uri(clip).open()
    planes = {name: np.empty(p.shape, p.dtype) for name, p in planes_of(source.format, spec).items()}
    first = source.grab()
    assert first is not None, "the clip has frames"
    first.copy_into(planes["image_bgr"])
    geometry = fit(source.format.height, source.format.width, spec.input)
    resize_into(planes["image_bgr"], geometry, planes["tensor_bgr"])
    with open_engine(spec, outputs=("alpha",), n_threads=n_threads) as opened:
        inputs = {INPUT_NAME: planes["tensor_bgr"][None]}
        outputs = {"alpha": planes["alpha"][None]}
        opened.infer(inputs, outputs)
        if stage == "capture":

            def read() -> bool:
                grabbed = source.grab()
                if grabbed is not None:
                    grabbed.copy_into(planes["image_bgr"])
                return grabbed is not None

            return _timed(read)
        if stage == "preprocess":
            return _flat_out(lambda: resize_into(planes["image_bgr"], geometry, planes["tensor_bgr"]))
        if stage == "segment":
            return _flat_out(lambda: opened.infer(inputs, outputs))
    from pipeline.effects import effect_from_text
    from pipeline.matte import MatteUpsampler

    upsampler = MatteUpsampler(source.format, spec)
    painter = effect_from_text(effect).open(source.format)

    def paint() -> None:
        matte = upsampler.matte(planes["alpha"], None, planes["image_bgr"])
        painter.paint(planes["image_bgr"], matte, 0, planes["composite"])

    return _flat_out(paint)


def _flat_out(act: Callable[[], None]) -> dict[str, Any]:
    end = time.monotonic() + _STAGE_SECONDS

    def one() -> bool:
        act()
        return time.monotonic() < end

    return _timed(one)


def _timed(one: Callable[[], bool]) -> dict[str, Any]:
    """Run until `one` says False; the first frames are not counted."""
    for _ in range(_WARM_UP):
        one()
    latency, n, first_ns = Histogram(), 0, 0
    last_ns = begin_ns = time.monotonic_ns()
    while one():
        last_ns = time.monotonic_ns()
        first_ns = first_ns or last_ns
        latency.record(last_ns - begin_ns)
        begin_ns = last_ns
        n += 1
    return {"fps": round(fps(n, first_ns, last_ns), 2), "latency_ms": latency.summary_ms()}


if __name__ == "__main__":
    main(*sys.argv[1:])
