"""What TensorRT measured in one build, for the next: kernels that were timed once on a GPU are not timed again.

One file for each GPU and version. The trap: it is a hint and nothing else. A file that cannot be read, or is of another
GPU, is left out without a word, and the build takes longer. `tensorrt_rtx` times nothing while building and has none.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engines.plans.cache import PlanCache, write_whole
from engines.plans.key import Target
from engines.plans.library import Library

__all__ = ["timing_cache_for", "timing_cache_path"]


def timing_cache_path(cache: PlanCache, library: Library, target: Target) -> Path:
    """`timing-tensorrt-10.16.1.11-8.9-nvidia-geforce-rtx-4070.cache`."""
    gpu = re.sub(r"[^a-z0-9]+", "-", target.gpu_name.lower()).strip("-")
    return cache.folder / f"timing-{library.kind.module}-{library.version}-{target.compute_capability}-{gpu}.cache"


@contextlib.contextmanager
def timing_cache_for(cache: PlanCache, library: Library, target: Target, config: Any) -> Iterator[None]:
    """Build inside; what was measured is kept when the build succeeds, together with what others measured meanwhile."""
    if not library.kind.has_timing_cache:
        yield
        return
    path = timing_cache_path(cache, library, target)
    for data in (_read(path), b""):  # without any, TensorRT would keep what it measures to itself
        timings = config.create_timing_cache(data)
        if timings is not None and config.set_timing_cache(timings, False):  # False: refuse those of another GPU
            break
    yield
    timings = config.get_timing_cache()
    if timings is None:
        return
    with contextlib.suppress(OSError), cache.building(path.stem):  # a full disk must not cost the plan
        others = _read(path)
        if others:
            more = config.create_timing_cache(others)
            if more is not None:
                timings.combine(more, False)
        write_whole(path, bytes(timings.serialize()))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
