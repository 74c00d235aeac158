"""One frame's planes on a device, from the camera's picture to the composite, and the engine between them.

A frame takes a seat when its picture is uploaded and keeps it until it was shown. Planes are written where they lie;
the host gets one when it asks for it (`bring`), or when that was queued before (`fetch`). The trap: a seat's tensors
are used again by a later frame, so a seat is given back only after its mark was waited for.
"""

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from engines.errors import DeviceLost, EngineError
from engines.geometry import Geometry
from engines.kernels import is_interpreted
from engines.kernels.preprocess import resize_into
from engines.kernels.upsample import planes_into
from engines.on_device.lanes import CudaLanes, HostLanes, Lanes, Mark
from engines.runtime.lost import hung
from engines.runtime.resident import Resident
from engines.spec import INPUT_NAME, EngineSpec

__all__ = ["DevicePlanes", "PaintsOnDevice", "Seat"]


class PaintsOnDevice(Protocol):
    """Composes one frame where it lies."""

    def paint(self, image_bgr: torch.Tensor, mask: torch.Tensor, out: torch.Tensor) -> None:
        """Write the whole of `out`.

        Args:
            image_bgr: (H, W, 3) uint8, the captured frame.
            mask: (h, w) uint8 of engine size with its bars: the subject's alpha.
            out: (H, W, 3) uint8, the composite.
        """


class Seat:
    """One frame's place on the device."""

    def __init__(self, planes: "DevicePlanes") -> None:
        self.planes = planes
        self.tensors: dict[str, torch.Tensor] = {}
        """By the name of the plane; what lies in them may be of an earlier frame, see `has`."""
        self.written: set[str] = set()
        """Planes of this frame that lie here."""
        self.fetched: set[str] = set()
        """Those of them that the host has too, or will have when the mark is reached."""
        self.mark: Mark | None = None
        self.marked_s = 0.0

    def has(self, name: str) -> bool:
        """Whether this frame's plane lies here."""
        return name in self.written

    def leave(self, name: str) -> None:
        """The host will not read this plane: asking for it copies nothing."""
        self.written.discard(name)

    def bring(self, name: str, array: NDArray[Any]) -> None:
        """See to it that the host has a plane, in `array`, as far as it lies here; waits when it must."""
        if name in self.written and name not in self.fetched:
            self.planes.fetch(self, name, array)
            self.planes.finish(self)
        if name in self.fetched:
            self.wait()

    @property
    def is_done(self) -> bool:
        """Whether all that was queued up to the mark is done.

        Raises:
            EngineError, DeviceLost: it failed.
        """
        with self.planes.told():
            return self.mark is None or self.mark.is_done()

    def check(self, patience_s: float) -> None:
        """Look at what is queued; raises what `is_done` raises, and DeviceLost when it is not done for so long."""
        age_s = time.monotonic() - self.marked_s
        if age_s > patience_s and not self.is_done:
            raise self.planes.hung(age_s, patience_s)

    def wait(self) -> None:
        """Until it is; raises what `is_done` raises."""
        with self.planes.told():
            if self.mark is not None:
                self.mark.wait()


class DevicePlanes:
    """The planes of all frames that one engine serves."""

    def __init__(self, resident: Resident, spec: EngineSpec, lanes: Lanes | None = None) -> None:
        """`lanes`: None, by the engine's device: its stream, or host memory where kernels are interpreted."""
        self.spec = spec
        self.lanes: Lanes = lanes or (HostLanes() if is_interpreted() else CudaLanes(resident.device.stream))
        self._resident = resident
        buffers = resident.buffers
        self._input = self.lanes.tensor_over(buffers[INPUT_NAME], spec.input.shape(), torch.uint8)
        self._logits = self.lanes.tensor_over(buffers["logits"], spec.output_shape("logits"), torch.float32)
        self._free: list[Seat] = []
        self._is_lost = False
        self._turn = threading.Lock()
        """Input and logits are one pair of buffers, and a thread that warms up uses it too."""

    def take(self, image_bgr: NDArray[np.uint8], geometry: Geometry) -> Seat:
        """A seat for a frame: its picture goes up and is brought to the engine's size there."""
        seat = self._free.pop() if self._free else Seat(self)
        self._fill(seat, image_bgr, geometry)
        return seat

    def _fill(self, seat: Seat, image_bgr: NDArray[np.uint8], geometry: Geometry) -> None:
        with self.told():
            self.lanes.upload(self._tensor(seat, "image_bgr", image_bgr.shape), image_bgr)
            seat.fetched.add("image_bgr")
            with self.lanes.work():
                tensor_bgr = self._tensor(seat, "tensor_bgr", tuple(self._input.shape[1:]))
                resize_into(seat.tensors["image_bgr"], geometry, tensor_bgr)

    def infer(self, seat: Seat, names: Sequence[str]) -> None:
        """Queue the network, and write these planes: of `logits`, `alpha`, `labels`."""
        output = self.spec.output
        with self.told(), self.lanes.work(), self._turn:
            self._input[0].copy_(seat.tensors["tensor_bgr"])
            self._resident.launch()
            mask = (1, self.spec.input.height, self.spec.input.width)
            planes = {name: self._tensor(seat, name, mask[1:])[None] for name in ("alpha", "labels") if name in names}
            if planes:
                planes_into(self._logits, subject=output.subject, **planes)
            if "logits" in names:
                self._tensor(seat, "logits", tuple(self._logits.shape[1:]), torch.float32).copy_(self._logits[0])

    def paint(self, seat: Seat, painter: PaintsOnDevice) -> None:
        """Queue the composite."""
        image_bgr = seat.tensors["image_bgr"]
        with self.told(), self.lanes.work():
            mask = seat.tensors["alpha"] if seat.has("alpha") else _front(seat.tensors["labels"])
            painter.paint(image_bgr, mask, self._tensor(seat, "composite", tuple(image_bgr.shape)))

    def fetch(self, seat: Seat, name: str, array: NDArray[Any]) -> None:
        """Queue the copy of a plane to the host; it is there when the seat's mark is reached."""
        with self.told():
            self.lanes.download(array, seat.tensors[name])
        seat.fetched.add(name)

    def finish(self, seat: Seat) -> None:
        """Mark what was queued for a seat so far."""
        with self.told():
            seat.mark = self.lanes.mark()
        seat.marked_s = time.monotonic()

    def give_back(self, seat: Seat) -> None:
        """Another frame may have the seat."""
        if seat.mark is None:
            self.finish(seat)
        seat.wait()
        seat.mark = None
        seat.written.clear()
        seat.fetched.clear()
        self._free.append(seat)

    def warm_up(
        self, image_bgr: NDArray[np.uint8], geometry: Geometry, names: Sequence[str], painter: PaintsOnDevice
    ) -> None:
        """Once through with a picture, so that every kernel is compiled; may run beside the frames, in a thread."""
        seat = Seat(self)
        self._fill(seat, image_bgr, geometry)
        self.infer(seat, names)
        self.paint(seat, painter)
        self.finish(seat)
        seat.wait()

    def close(self) -> None:
        """Until nothing is queued any more; before the engine is closed. A GPU that is lost is not touched."""
        self._free.clear()
        if not self._is_lost:  # else the wait might never return
            with self.told():
                self.lanes.mark().wait()

    def hung(self, age_s: float, patience_s: float) -> DeviceLost:
        """The device does not come back; nothing of this engine may be closed any more."""
        self._is_lost = True
        lost = hung(self.spec.label, age_s, patience_s)
        return self._resident.lost(lost) or lost

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Errors of torch and CUDA as ours."""
        try:
            yield
        except (EngineError, RuntimeError) as error:
            if (lost := self._resident.lost(error)) is not None:
                self._is_lost = True
                raise lost from error
            if isinstance(error, EngineError):
                raise
            said = " ".join(str(error).split())[:300]
            raise EngineError(f"{self.spec.label}: a frame on the device failed ({said})") from error

    def _tensor(self, seat: Seat, name: str, shape: tuple[int, ...], dtype: torch.dtype = torch.uint8) -> torch.Tensor:
        """A seat's plane, about to be written."""
        tensor = seat.tensors.get(name)
        if tensor is None or tuple(tensor.shape) != shape:
            tensor = seat.tensors[name] = torch.empty(shape, dtype=dtype, device=self.lanes.device)
        seat.written.add(name)
        seat.fetched.discard(name)
        return tensor


def _front(labels: torch.Tensor) -> torch.Tensor:
    """Without a subject, whatever is not class 0 stands in front."""
    return (labels != 0).to(torch.uint8) * 255
