"""What travels and what stays: formats, planes, tickets, frames.

A `Ticket` is the only thing that moves between processes. A `Frame` is a ticket with views of the
slot it names: the views are valid until the slot is handed over.
"""

import struct
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import IntFlag
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import WireError

if TYPE_CHECKING:
    from engines.on_device.planes import Seat

__all__ = ["Frame", "PlaneSpec", "StreamFormat", "Ticket", "TicketFlag"]


@dataclass(frozen=True)
class StreamFormat:
    """The shape of a stream, fixed for the run; capture reports it before the first frame."""

    width: int
    height: int
    rate_hz: Fraction
    """Nominal frames a second; real time stamps travel with each frame."""
    is_live: bool
    """True for a camera: it does not wait for us."""
    source: str
    """What it is, for people, passwords masked."""
    n_frames: int | None = None
    """How many frames are expected, when the source knows."""
    audio_path: str | None = None
    """The file whose audio a file sink may carry over."""
    granted: str = ""
    """What a camera granted of what was asked for, or how a file is coded."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the status link and the report."""
        return {**asdict(self), "rate_hz": str(self.rate_hz)}

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(**{**tree, "rate_hz": Fraction(tree["rate_hz"])})


@dataclass(frozen=True)
class PlaneSpec:
    """One array of a slot. `(height, width[, channels])`, C order."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def n_bytes(self) -> int:
        """Size of the plane in bytes."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


class TicketFlag(IntFlag):
    """What is special about a ticket."""

    NONE = 0
    END = 1
    """No frame: the stream is over; render closes the sinks when it arrives."""
    GAP = 2
    """The source was reopened just before this frame: forget what was remembered of earlier ones."""


_WIRE = struct.Struct("<HHHHIIQq")
_MAGIC = 0x5E61
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Ticket:
    """Says which slot holds a frame. The pixels never travel."""

    slot: int
    generation: int
    """Must match the pool's, else the ticket is stale."""
    sequence: int
    """As captured: 0, 1, 2, ...; a gap is a drop."""
    pts_ns: int
    """Presentation time on the source's clock, rebased to 0."""
    stream: int = 0
    epoch: int = 0
    """Which settings this frame is made with."""
    flags: TicketFlag = TicketFlag.NONE

    def to_bytes(self) -> bytes:
        """One ZeroMQ part of fixed size."""
        head = (_MAGIC, _VERSION << 8 | int(self.flags), self.stream, self.slot)
        return _WIRE.pack(*head, self.generation, self.epoch, self.sequence, self.pts_ns)

    @classmethod
    def from_bytes(cls, part: bytes) -> Self:
        """Read a part back.

        Raises:
            WireError: the size, the magic number or the version is not ours.
        """
        if len(part) != _WIRE.size:
            raise WireError(f"ticket of {len(part)} bytes, expected {_WIRE.size}")
        magic, word, stream, slot, generation, epoch, sequence, pts_ns = _WIRE.unpack(part)
        if magic != _MAGIC or word >> 8 != _VERSION:
            raise WireError(f"ticket {magic:#06x} version {word >> 8}, expected {_MAGIC:#06x} version {_VERSION}")
        return cls(slot, generation, sequence, pts_ns, stream, epoch, TicketFlag(word & 0xFF))


@dataclass(slots=True)
class Frame:
    """A ticket with the pixels it names, as one stage sees them."""

    ticket: Ticket
    plane: Callable[[str], NDArray[Any]]
    """`plane("image_bgr")`: a view of the slot, writable by the slot's owner alone, valid until it is handed over."""
    captured_ns: int = 0
    """When the source's read returned, on the monotonic clock."""
    shown_ns: int = 0
    """When the last sink accepted it; 0 while none has."""
    seat: "Seat | None" = None
    """Where its planes lie on a device; None where they are in the slot alone."""
