"""Device memory and marks that another process can open: CUDA IPC, by cuda-bindings.

The owner of a buffer gives out a handle, which is plain bytes; the other process opens it and works on the same memory,
without a copy. A mark opened in the same way lets one process's stream wait for the other's, and no thread waits.

Traps. Only a whole allocation of cudaMalloc has a handle: memory of a pool (cudaMallocAsync, torch's caching allocator)
is a piece of a larger one, or refused. CUDA cuts small allocations from blocks of 2 MiB, and a handle shares the block
(CUDA Programming Guide, "Interprocess Communication"); so buffers to be shared are allocated here, in whole blocks. The
owner frees last: memory that is freed while somebody has it open is undefined. A mark means what was recorded when
somebody begins to wait for it: record first, then tell the other process.

Not yet run on a GPU; tested with a stand-in for CUDA between real processes. Whether it works on a machine is asked by
`engines.runtime.sharing_probe`, since no call tells beforehand.
"""

from dataclasses import dataclass
from typing import Any, Self

from engines.errors import BackendUnavailable, EngineError
from engines.runtime.device import CudaDevice, DeviceBuffer, _CudaMark

__all__ = ["BLOCK_BYTES", "REFUSALS", "MemoryHandle", "SharedMark", "SharingDevice"]

BLOCK_BYTES = 2 << 20
"""Allocations of whole blocks share nothing with others (CUDA Programming Guide, as above)."""

REFUSALS: dict[int, tuple[str, str]] = {
    1: ("cudaErrorInvalidValue", "it is not the beginning of an allocation of cudaMalloc"),
    101: ("cudaErrorInvalidDevice", "the process that opens it does not see that GPU"),
    201: ("cudaErrorDeviceUninitialized", "a process cannot open what it exported itself"),
    205: ("cudaErrorMapBufferObjectFailed", "the driver could not map it; containers must share their IPC namespace"),
    217: ("cudaErrorPeerAccessUnsupported", "it lies on another GPU, which this one cannot reach"),
    304: ("cudaErrorOperatingSystem", "the system refuses; containers must share their PID and IPC namespaces"),
    400: ("cudaErrorInvalidResourceHandle", "its owner is gone, or has freed it"),
    711: ("cudaErrorTooManyPeers", "too many GPUs reach each other's memory already"),
    800: ("cudaErrorNotPermitted", "the driver forbids it"),
    801: ("cudaErrorNotSupported", "WSL 2, Tegra and some containers have no CUDA IPC"),
}
"""Names of cudaError_t (CUDA Runtime API; compared with cuda-bindings 13.0), and what they mean for a handle."""

_REMEDY = "CUDA IPC needs cuda-bindings: pip install 'segstream[cuda]'"


@dataclass(frozen=True)
class MemoryHandle:
    """What another process needs to open a buffer. Plain values: it can be pickled, or sent as JSON."""

    reserved: bytes
    """cudaIpcMemHandle_t: 64 bytes, of the whole allocation."""
    offset: int
    """Where in the allocation the buffer begins."""
    n_bytes: int
    gpu: str
    """The PCI address of the GPU that it lies on; indices differ between processes."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**vars(self), "reserved": self.reserved.hex()}

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(**{**tree, "reserved": bytes.fromhex(tree["reserved"])})


class SharedMark(_CudaMark):
    """A mark that two processes record and wait for. The one that made it frees it last; `wait` spins."""

    handle: bytes
    """cudaIpcEventHandle_t: 64 bytes."""


class SharingDevice(CudaDevice):
    """A `CudaDevice` whose buffers and marks other processes can open.

    It works in the device's primary context, so a torch or TensorRT of the same process may use its addresses.

    Raises:
        BackendUnavailable: cuda-bindings is missing, or cannot be loaded.
        EngineError: the driver refuses the device.
    """

    def __init__(self, index: int = 0) -> None:
        try:
            super().__init__(index)
        except (ImportError, RuntimeError) as error:  # not there; there without its libraries
            raise BackendUnavailable(f"{_REMEDY} ({error})") from error
        self._exportable: set[int] = set()

    @property
    def gpu(self) -> str:
        """The device's PCI address, which is the same in all processes: `0000:18:00.0`."""
        named: bytes = self._call("cudaDeviceGetPCIBusId", 32, self._index)
        return named.split(b"\0")[0].decode().strip()

    @property
    def has_sharing(self) -> bool:
        """What the device says of itself; that it says yes proves nothing."""
        attribute = self._cuda.cudaDeviceAttr.cudaDevAttrIpcEventSupport
        return bool(self._call("cudaDeviceGetAttribute", attribute, self._index))

    def allocate(self, n_bytes: int) -> DeviceBuffer:
        """Memory that has a handle; whole blocks are taken for it."""
        whole = super().allocate(-(-n_bytes // BLOCK_BYTES) * BLOCK_BYTES)
        self._exportable.add(whole.address)

        def free() -> None:
            self._exportable.discard(whole.address)
            whole.free()

        return DeviceBuffer(whole.address, n_bytes, free)

    def handle(self, buffer: DeviceBuffer, offset: int = 0, n_bytes: int | None = None) -> MemoryHandle:
        """What another process opens: all of a buffer of this device's `allocate`, or a part of it.

        The buffer must not be freed before all others have freed theirs.

        Raises:
            EngineError: the memory is of a pool or of another process, or CUDA does not share it: its own words.
        """
        if buffer.address not in self._exportable:
            raise EngineError(
                f"memory at {buffer.address:#x} cannot be shared: it is of a pool, or of another process; expected a "
                "buffer of SharingDevice.allocate, so allocate one and copy"
            )
        n_bytes = buffer.n_bytes - offset if n_bytes is None else n_bytes
        if not 0 <= offset <= offset + n_bytes <= buffer.n_bytes:
            raise EngineError(f"{n_bytes} bytes from {offset} on are not in a buffer of {buffer.n_bytes} bytes")
        exported = self._asked("cudaIpcGetMemHandle", buffer.address)
        return MemoryHandle(bytes(exported.reserved), offset, n_bytes, self.gpu)

    def opened(self, handle: MemoryHandle) -> DeviceBuffer:
        """The memory of another process; `free` closes it, after all work on it is done.

        It may lie on another GPU, which this one then reaches as a peer. Its address differs between processes.

        Raises:
            EngineError: CUDA refuses: its own words, and what they mean here.
        """
        wire = self._cuda.cudaIpcMemHandle_t()
        wire.reserved = handle.reserved
        try:
            base = self._asked("cudaIpcOpenMemHandle", wire, self._cuda.cudaIpcMemLazyEnablePeerAccess)
        except EngineError as error:
            if handle.gpu == self.gpu:
                raise
            raise EngineError(f"memory of the GPU at {handle.gpu}, opened on the one at {self.gpu}: {error}") from error
        address = int(base) + handle.offset
        return DeviceBuffer(address, handle.n_bytes, lambda: self._asked("cudaIpcCloseMemHandle", base))

    def shared_mark(self) -> SharedMark:
        """A mark for this stream that other processes can open by its `handle`."""
        flags = self._cuda.cudaEventInterprocess | self._cuda.cudaEventDisableTiming
        mark = SharedMark(self._call, self._call("cudaEventCreateWithFlags", flags), self._stream)
        try:
            mark.handle = bytes(self._asked("cudaIpcGetEventHandle", mark.event).reserved)
        except EngineError:
            mark.free()
            raise
        return mark

    def opened_mark(self, handle: bytes) -> SharedMark:
        """A mark of another process, for this stream.

        Raises:
            EngineError: CUDA refuses: its own words, and what they mean here.
        """
        wire = self._cuda.cudaIpcEventHandle_t()
        wire.reserved = handle
        mark = SharedMark(self._call, self._asked("cudaIpcOpenEventHandle", wire), self._stream)
        mark.handle = handle
        return mark

    def _asked(self, name: str, *arguments: Any) -> Any:
        """As `_call`; what is refused leaves no error behind for whoever asks next, and is told by its name."""
        error, *values = getattr(self._cuda, name)(*arguments)
        number = int(error)
        if number:
            self._cuda.cudaGetLastError()
            _, text = self._cuda.cudaGetErrorString(error)
            told = f"{name}: CUDA error {number}, {text.decode(errors='replace')}"
            raise EngineError(told + "".join(f" ({known}: {meaning})" for known, meaning in _known(number)))
        return values[0] if values else None


def _known(number: int) -> list[tuple[str, str]]:
    return [REFUSALS[number]] if number in REFUSALS else []
