"""Which TensorRT is here: `tensorrt` (10.12 to 11) or `tensorrt_rtx`, one code path for both.

Only names that every one of these versions has are touched: precision lives in the graph, networks are strongly typed,
so nothing is missed of what TensorRT 11 removed. The trap: importing either takes half a second, and `tensorrt` times
kernels on the GPU it builds for, while `tensorrt_rtx` builds without one and leaves timing to the machine that runs.
"""

import importlib
import importlib.util
import re
from dataclasses import dataclass
from typing import Any, Final

from engines.errors import BackendUnavailable

__all__ = ["LIBRARIES", "Library", "LibraryKind", "dtype_name", "find_library", "library_reason"]


@dataclass(frozen=True)
class LibraryKind:
    """What is known of a library before it is imported."""

    module: str
    """Its Python name, which is also the backend's and the `runtime` of a key."""
    title: str
    """For people."""
    oldest: tuple[int, ...]
    """The first version with everything that is used here."""
    first_unknown: tuple[int, ...]
    """The first version that may have removed something."""
    remedy: str
    """The command that installs it."""
    needs_gpu: bool
    """Whether building needs the GPU that the plan is for."""
    has_timing_cache: bool
    """Whether what was measured in one build speeds up the next; of `tensorrt_rtx` these calls are empty shells."""


LIBRARIES: Final = {
    kind.module: kind
    for kind in (
        LibraryKind(
            "tensorrt",
            "TensorRT",
            (10, 12),
            (12,),
            "pip install 'segstream[tensorrt]' (its libraries come from NVIDIA's index; see docs/tensorrt.md)",
            needs_gpu=True,
            has_timing_cache=True,
        ),
        LibraryKind(
            "tensorrt_rtx",
            "TensorRT-RTX",
            (1, 7),
            (2,),
            "pip install 'segstream[tensorrt-rtx]'",
            needs_gpu=False,
            has_timing_cache=False,
        ),
    )
}
"""By backend name, best first."""

_DTYPES: Final = {
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": "bfloat16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
    "FP8": "float8",
}


@dataclass(frozen=True)
class Library:
    """An imported TensorRT."""

    kind: LibraryKind
    trt: Any
    """The module; typed as Any because neither library ships types."""

    @property
    def version(self) -> str:
        """As the module says it; plans belong to one version exactly."""
        return str(self.trt.__version__)

    @property
    def label(self) -> str:
        """`TensorRT-RTX 1.7.1.116`."""
        return f"{self.kind.title} {self.version}"


def find_library(backend: str = "auto") -> Library:
    """Import the library of a backend, or the first that is usable.

    Args:
        backend: `tensorrt`, `tensorrt_rtx`, or `auto`.

    Raises:
        BackendUnavailable: not installed, not to be loaded, or of a version that was never tried; says what helps.
    """
    if backend != "auto" and backend not in LIBRARIES:
        raise BackendUnavailable(f"no plans for backend {backend!r}; expected auto, {' or '.join(LIBRARIES)}")
    reasons = []
    for name in LIBRARIES if backend == "auto" else (backend,):
        reason = library_reason(name)
        if reason is None:
            return Library(LIBRARIES[name], importlib.import_module(name))
        reasons.append(reason)
    raise BackendUnavailable("; ".join(reasons))


def library_reason(name: str) -> str | None:
    """Why a library cannot be used here, with what would mend it; None when it can. Imports it."""
    kind = LIBRARIES[name]
    if importlib.util.find_spec(name) is None:
        return f"{kind.title} is not installed; {kind.remedy}"
    try:
        module = importlib.import_module(name)
        version = str(module.__version__)
    except (ImportError, OSError, AttributeError) as error:  # its shared libraries are loaded at import, by ctypes
        return f"{kind.title} cannot be loaded ({' '.join(str(error).split())[:200]}); {kind.remedy}"
    numbers = tuple(int(digits) for digits in re.findall(r"\d+", version))
    if kind.oldest <= numbers < kind.first_unknown:
        return None
    expected = f"{_dotted(kind.oldest)} or newer, before {_dotted(kind.first_unknown)}"
    return f"{kind.title} {version} is installed, expected {expected}; {kind.remedy}"


def dtype_name(dtype: Any) -> str:
    """NumPy's name of a `trt.DataType`; what NumPy does not know keeps TensorRT's word in lower case."""
    word = str(dtype).rpartition(".")[2]
    return _DTYPES.get(word, word.lower())


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
