"""GPU kernels in Triton, one file each, beside the code for the CPU that says the same.

Importing this package imports neither torch nor triton; its modules import both. With TRITON_INTERPRET=1 in the
environment every kernel runs on the CPU, slowly, for tests. The trap: triton reads that variable when a kernel is
defined, so it must be set before the first import.
"""

import importlib.util
import os

from engines.machine import nvidia_reason

__all__ = ["REMEDY", "is_interpreted", "unavailable_reason"]

REMEDY = "pip install 'segstream[gpu]'"


def is_interpreted() -> bool:
    """Whether the kernels are to run on the CPU, as triton reads the variable."""
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "yes", "on", "y")


def unavailable_reason() -> str | None:
    """Why the kernels cannot be used here, with what would mend it; None when they can. Imports nothing of theirs."""
    for needed in ("torch", "triton"):
        if importlib.util.find_spec(needed) is None:
            return f"{needed} is not installed; {REMEDY}"
    if is_interpreted():
        return None
    reason = nvidia_reason()
    return reason and f"{reason}: the kernels run on a GPU (tests set TRITON_INTERPRET=1, which is slow)"
