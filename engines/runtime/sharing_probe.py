"""Whether two processes of this machine can share a GPU's memory: they try it.

No call tells: what says that it has CUDA IPC may lie in a container without it. So a second process is started, opens a
buffer and a mark, compares what lies there, writes something else, and the first one compares that. The trap: it costs
a process and a context, seconds and some hundred MB of device memory while it runs; ask once.
"""

import time
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineError
from engines.machine import nvidia_reason
from engines.runtime.device_sharing import MemoryHandle, SharingDevice
from engines.runtime.second_process import Line, SecondProcess

__all__ = ["answer_probe", "sharing_reason"]

_OFFSET, _N_BYTES = 4096, 1_000_003
"""The pattern lies somewhere in a larger buffer, and fills no whole pages."""


def sharing_reason(index: int = 0, timeout_s: float = 30.0) -> str | None:
    """Why device memory cannot be shared between processes here, in one line; None when it was shared.

    Args:
        index: of the GPU, in both processes.
        timeout_s: for the second process, from its start to its last answer.
    """
    reason = nvidia_reason()
    if reason is not None:
        return reason
    try:
        device = SharingDevice(index)
    except EngineError as error:
        return _line(error)
    try:
        if not device.has_sharing:
            return "the GPU says that it has no CUDA IPC (cudaDevAttrIpcEventSupport); WSL 2 and Tegra have none"
        _exchange(device, index, timeout_s)
    except EngineError as error:
        return _line(error)
    finally:
        device.close()
    return None


def _exchange(device: SharingDevice, index: int, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    seed = time.monotonic_ns() & 0xFFFFFFFF
    with ExitStack() as stack:  # the second process first: what it has open may not be freed
        buffer = device.allocate(_OFFSET + _N_BYTES)
        stack.callback(buffer.free)
        mark = device.shared_mark()
        stack.callback(mark.free)
        handle = device.handle(buffer, _OFFSET, _N_BYTES)
        everything = np.concatenate([np.zeros(_OFFSET, np.uint8), _pattern(seed)])
        device.upload(buffer, everything)
        mark.record()
        second = stack.enter_context(SecondProcess(f"{__name__}:{answer_probe.__name__}"))
        second.send({"index": index, "memory": handle.to_json(), "mark": mark.handle.hex(), "seed": seed})
        second.receive(max(0.0, deadline - time.monotonic()))
        device.after(mark)
        device.download(everything, buffer)
        device.wait()
        if not np.array_equal(everything[_OFFSET:], ~_pattern(seed)) or everything[:_OFFSET].any():
            raise EngineError("what the second process wrote into the shared memory did not arrive in the first")
        second.send({"close": True})
        second.receive(max(0.0, deadline - time.monotonic()))


def answer_probe(line: Line) -> None:
    """The second process: reads the pattern behind the mark, writes its complement and sets the mark again."""
    asked = line.receive()
    device = SharingDevice(asked["index"])
    buffer = device.opened(MemoryHandle.from_json(asked["memory"]))
    mark = device.opened_mark(bytes.fromhex(asked["mark"]))
    pattern, seen = _pattern(asked["seed"]), np.empty(_N_BYTES, np.uint8)
    device.after(mark)
    device.download(seen, buffer)
    device.wait()
    if not np.array_equal(seen, pattern):
        raise EngineError("the second process reads other bytes in the shared memory than the first one wrote")
    written = ~pattern
    device.upload(buffer, written)
    mark.record()
    line.send({"written": True})
    line.receive()
    device.wait()
    mark.free()
    buffer.free()
    device.close()
    line.send({"closed": True})


def _pattern(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, _N_BYTES, np.uint8)


def _line(error: EngineError) -> str:
    return " ".join(str(error).split())
