"""Which faults of a GPU cannot be mended in the process that met them.

After a *sticky* error every later call of CUDA in this process fails with the same error, whichever library makes it;
only a new process can go on. Those numbers, and the words that libraries put in their place, are kept here. The trap:
running out of memory is no such fault, and a graph that cannot be captured is none either.
"""

import re

from engines.errors import DeviceLost

__all__ = ["AT_WORK", "STICKY", "hung", "lost_reason"]

STICKY: dict[int, str] = {
    214: "uncorrectable ECC error",
    220: "uncorrectable NVLink error",
    226: "an error that the GPU contained",
    700: "an illegal memory access was encountered",
    702: "the launch timed out and was terminated",
    709: "context is destroyed",
    710: "device-side assert triggered",
    714: "hardware stack error",
    715: "an illegal instruction was encountered",
    716: "misaligned address",
    717: "operation not supported on global/shared address space",
    718: "invalid program counter",
    719: "unspecified launch failure",
    721: "tensor memory was not freed",
    911: "an error of an external device",
}
"""Numbers of cudaError_t (CUDA Runtime API, "Data types used by CUDA Runtime"; compared with cuda-bindings 13.5), and
about what cudaGetErrorString says of them: of each it is written there that the process must be ended and launched
anew, or that the device is in no state to go on."""

AT_WORK: dict[int, str] = {
    46: "the device is unavailable",
    100: "there is no device any more",
    101: "there is no such device any more",
    999: "unknown error",
}
"""What a device says that falls off the bus while an engine runs. Before that they are faults of an installation, and
the next backend may be tried in the same process."""

_NUMBER = re.compile(r"\bcuda\s?(?:runtime\s|driver\s)?(?:error|failure)(?:\s*code)?[\s:(=]*(\d{1,4})\b", re.IGNORECASE)
"""`CUDA error 700`, `CUDA failure 719: ...` (ONNX Runtime), `cudaError 35`, `CUDA error: 700`."""

_WORDS = (  # as cudaGetErrorString writes them, its spelling included; some libraries tell no number
    "illegal memory access",
    "illegal address",
    "illegal instruction",
    "unspecified launch failure",
    "device-side assert triggered",  # not less: the advice below every error of torch has "device-side assertions"
    "misaligned address",
    "hardware stack error",
    "uncorrectable ecc",
    "uncorrectable nvlink",
    "launch timed out",
    "context is destroyed",
    "invalid program counter",
    "invalid access of peer gpu memory",
    "not supported on global/shared address space",
    "tensor memory not completely freed",
    "error has occured in external entity",
    "device lost",
    "device is lost",
    "gpu is lost",
    "fallen off the bus",
    "cudaerrorillegaladdress",
    "cudaerrorlaunchfailure",
    "cudaerrorassert",
)


def lost_reason(error: BaseException | str, *, at_work: bool = True) -> str | None:
    """What was lost, for people; None when the process may go on.

    Args:
        error: as the library raised it, or its text.
        at_work: the engine had been opened before.

    torch puts the number into `error_code` (AcceleratorError, from 2.8), the others only into the text.
    """
    known = STICKY | AT_WORK if at_work else STICKY
    cause = getattr(error, "__cause__", None)
    codes = [getattr(one, "error_code", None) for one in (error, cause)]
    text = str(error) if cause is None else f"{error} {cause}"
    for number in (*codes, *map(int, _NUMBER.findall(text))):
        if number in known:
            return known[number]
    lowered = text.lower()
    return next((words for words in _WORDS if words in lowered), None)


def hung(label: str, age_s: float, patience_s: float) -> DeviceLost:
    """The loss of a GPU that tells no error and does not come back: `label` is the engine that it works for."""
    return DeviceLost(
        f"{label}: the GPU hangs: work that was queued {age_s:.1f} s ago is not done, expected within {patience_s:g} s "
        "(restart.work_timeout_s)"
    )
