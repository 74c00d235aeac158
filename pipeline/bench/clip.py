"""The benchmark's own clip: a camera's picture, with a camera's noise, made once and kept."""

import hashlib
import os
from pathlib import Path

import numpy as np

from pipeline.sources import source_from_uri

__all__ = ["bench_clip"]

_N_FRAMES = 180
_SIGMA = 3.0
_OPTIONS = {"preset": "veryfast", "crf": "12"}


def bench_clip() -> Path:
    """180 frames of `demo` at 1280x720 and 30 fps, Gaussian noise of sigma 3, libx264 veryfast crf 12.

    Noise is what makes real cameras' streams expensive to decode: without it a frame has a few KiB.
    """
    import av

    recipe = f"demo {_N_FRAMES} {_SIGMA} {_OPTIONS} v2"
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "segstream" / "bench"
    path = folder / f"demo-1280x720-{hashlib.sha256(recipe.encode()).hexdigest()[:8]}.mp4"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.mp4")
    rng = np.random.default_rng(0)
    source = source_from_uri("demo:1280x720@30").open()
    image_bgr = np.empty((720, 1280, 3), np.uint8)
    with av.open(str(unfinished), "w") as container:
        stream = container.add_stream("libx264", rate=30, options=_OPTIONS)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for _ in range(_N_FRAMES):
            grabbed = source.grab()
            assert grabbed is not None, "demo has no end"
            grabbed.copy_into(image_bgr)
            noisy = image_bgr + rng.normal(0.0, _SIGMA, image_bgr.shape).astype(np.float32)
            pixels = np.clip(noisy, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="bgr24")))
        container.mux(stream.encode(None))
    source.close()
    unfinished.rename(path)
    return path
