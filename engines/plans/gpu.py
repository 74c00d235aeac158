"""The GPU of this machine, asked of the driver itself: name, compute capability, memory.

A plan belongs to a kind of GPU, so this must be known without torch and before any runtime is loaded. The trap:
the driver must be initialised for the question (about 0.1 s the first time), so nothing asks at import.
"""

import ctypes
from dataclasses import dataclass

from engines.machine import nvidia_reason

__all__ = ["Gpu", "gpu_here"]

_COMPUTE_CAPABILITY_MAJOR = 75
_COMPUTE_CAPABILITY_MINOR = 76
"""Of CUdevice_attribute in cuda.h."""


@dataclass(frozen=True)
class Gpu:
    """One device."""

    name: str
    """`NVIDIA GeForce RTX 4070`."""
    compute_capability: str
    """`8.9`."""
    driver_cuda: str
    """The newest CUDA that the driver can serve, `13.0`."""
    memory_bytes: int

    @property
    def label(self) -> str:
        """`NVIDIA H200 (compute capability 9.0)`."""
        return f"{self.name} (compute capability {self.compute_capability})"


def gpu_here(index: int = 0) -> tuple[Gpu | None, str]:
    """The device, or None and why there is none; the reason is empty otherwise."""
    reason = nvidia_reason()
    if reason is not None:
        return None, reason
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
        return _asked(cuda, index), ""
    except (OSError, AttributeError, _Refused) as error:
        return None, f"the NVIDIA driver does not answer ({error})"


class _Refused(Exception):
    """A call of the driver that returned an error number."""


def _asked(cuda: ctypes.CDLL, index: int) -> Gpu:
    def call(name: str, *arguments: object) -> None:
        status = getattr(cuda, name)(*arguments)
        if status:
            raise _Refused(f"{name}: CUDA error {status}")

    device, number = ctypes.c_int(), ctypes.c_int()
    call("cuInit", 0)
    call("cuDeviceGet", ctypes.byref(device), index)
    name = ctypes.create_string_buffer(256)
    call("cuDeviceGetName", name, len(name), device)
    capability = []
    for attribute in (_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR):
        call("cuDeviceGetAttribute", ctypes.byref(number), attribute, device)
        capability.append(str(number.value))
    memory = ctypes.c_size_t()
    call("cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    call("cuDriverGetVersion", ctypes.byref(number))
    driver = f"{number.value // 1000}.{number.value % 1000 // 10}"
    return Gpu(name.value.decode(errors="replace"), ".".join(capability), driver, memory.value)
