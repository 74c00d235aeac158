"""Whether a GPU will serve, as far as can be known without loading a library: for those who must decide beforehand.

The supervisor lays out its workers before any of them has imported torch or TensorRT. What is asked here costs
milliseconds: driver, what is installed, and in which build. The trap: it may be wrong. A driver that is too old, or a
plan that does not open, shows only when the engine is opened, and `auto` then goes on to the CPU.
"""

import importlib.metadata
import importlib.util

from engines.machine import nvidia_reason
from engines.runtime import ASKED_FOR_ONLY, BACKENDS, runs_on_gpu

__all__ = ["no_gpu_reason"]

NEEDS: dict[str, tuple[str, ...]] = {
    "tensorrt": ("tensorrt",),
    "tensorrt_rtx": ("tensorrt_rtx",),
    "torch_cuda": ("torch", "onnx"),
    "onnxruntime_cuda": ("onnxruntime",),
}
"""Modules that each backend of a GPU imports."""


def no_gpu_reason(backend: str = "auto", engine: str = "") -> str | None:
    """Why the engine is expected to run on the CPU; None when a GPU is expected to serve.

    Args:
        backend: `auto`, or a key of `BACKENDS`.
        engine: its name; the fake one needs no GPU.
    """
    if engine.partition("?")[0].partition("@")[0] == "fake":
        return "engine fake has no network"
    if backend != "auto" and not runs_on_gpu(backend):
        return f"backend {backend} is for the CPU"
    if (reason := nvidia_reason()) is not None:
        return reason
    names = [backend] if backend != "auto" else [n for n in BACKENDS if n not in ASKED_FOR_ONLY and runs_on_gpu(n)]
    reasons = [_reason(name) for name in names]
    return None if None in reasons else "; ".join(dict.fromkeys(filter(None, reasons)))


def _reason(backend: str) -> str | None:
    missing = [name for name in NEEDS[backend] if importlib.util.find_spec(name) is None]
    if missing:
        return f"{' and '.join(missing)} not installed"
    if backend == "torch_cuda" and "+cpu" in (version := _version("torch")):
        return f"torch {version} has no CUDA"
    if backend == "onnxruntime_cuda" and not _version("onnxruntime-gpu"):
        return "onnxruntime has no CUDA"
    return None


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""
