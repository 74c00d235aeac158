"""How the CRF's kernels are compiled: numba, without Python objects, kept between runs in the user's cache folder.

Each kernel is compiled at its first call, which takes seconds; the result is kept per source and kind of processor.
The trap: `fastmath` lets the compiler assume that nothing is NaN or infinite, so what comes in is checked before.
"""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from engines.crf import REMEDY
from engines.errors import BackendUnavailable

__all__ = ["cache_folder", "compiling_once", "intrinsic", "kernel"]

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


@cache
def cache_folder() -> Path:
    """Where compiled kernels are kept: a folder for each state of the sources.

    A kernel holds those that it calls, and numba asks only whether its own file has changed.
    """
    told = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        told.update(source.read_bytes())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "segstream" / "numba" / told.hexdigest()[:16]


def kernel(function: Kernel) -> Kernel:
    """Compile a function at its first call; it holds no interpreter lock while it runs.

    Raises:
        BackendUnavailable: numba is not installed.
    """
    compiler = _numba().njit(fastmath=True, nogil=True, boundscheck=False)
    compiled: Kernel = compiler(function)
    try:
        compiled.enable_caching()  # type: ignore[attr-defined]
    except (RuntimeError, AttributeError):  # nowhere to keep anything, or NUMBA_DISABLE_JIT
        pass
    return compiled


def intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that writes the compiler's own code; for use in kernels, without its first argument."""
    made: Callable[..., Any] = _numba().extending.intrinsic(function)
    return made


def _numba() -> Any:
    try:
        import numba
        import numba.extending
        from numba import config
    except ImportError as error:
        raise BackendUnavailable(f"the compiled CRF needs numba ({error}); {REMEDY}") from error
    settings: Any = config
    if not settings.CACHE_DIR:  # else the user has said where
        settings.CACHE_DIR = str(cache_folder())
    return numba


@contextmanager
def compiling_once() -> Iterator[None]:
    """Several processes that start together: one compiles, the others wait and then load what it made."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError:  # nowhere to keep anything; then everyone compiles
        yield
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
