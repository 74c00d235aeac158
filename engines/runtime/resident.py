"""What an engine lends whose pictures and answers lie on a device: its buffers, and how its work is queued.

Who keeps frames on the device writes the input and reads the outputs there, without the copies that `infer` makes. The
trap: there is one set of buffers. On the device's stream, in order, that is enough; `infer` must not be called between.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from engines.errors import DeviceLost
from engines.runtime.device import Device, DeviceBuffer

__all__ = ["Resident"]


@dataclass(frozen=True)
class Resident:
    """Good while the engine is open."""

    device: Device
    buffers: Mapping[str, DeviceBuffer]
    """`image_bgr` and every output that the engine was opened with, one picture at the beginning of each."""
    launch: Callable[[], None]
    """Queue one inference, from buffer to buffer, on the device's stream."""
    lost: Callable[[BaseException], DeviceLost | None]
    """The loss of the GPU that an error means, or None when it means something else."""
