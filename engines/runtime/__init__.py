"""Engines opened for running, behind one seam.

`BACKENDS` is lazy: a backend's library is imported when an engine is opened with it, never before.
"""

import importlib
from collections.abc import Mapping
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from engines.errors import BackendUnavailable, EngineNotFound
from engines.spec import EngineSpec

__all__ = ["BACKENDS", "Array", "Engine", "backend_reason", "open_engine"]

Array = NDArray[np.generic]


class Engine(Protocol):
    """Opened for running. Memory is acquired in `__enter__`, released in `__exit__`."""

    spec: EngineSpec
    max_batch: int
    backend: str
    """What runs it, for people: `OpenVINO 2026.4 bf16, 2 threads`."""

    def __enter__(self) -> Self: ...

    def infer(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """One batch into buffers the caller owns; only the outputs named are computed where the runtime can."""

    def __exit__(self, *exc: object) -> None: ...
