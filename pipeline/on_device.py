"""Keeps the planes of frames on a GPU through one worker's stages, where the engine and the effect can.

Preprocess takes a seat on the device for a frame, segment runs there, render composes there; a stage that does not know
of it asks for a plane as ever and gets it, copied to the slot at that moment. The trap: what a stage of the host writes
is in the slot alone, so from there on the frame goes the host's way.

Not yet run on a GPU; the tests run it on the CPU, with the kernels interpreted.
"""

import queue
import threading
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineError
from engines.geometry import Geometry, fit
from engines.kernels import unavailable_reason
from engines.runtime import Engine
from pipeline.effects import Effect, Painter
from pipeline.effects.blur import Blur
from pipeline.effects.device_plans import backdrop_on_device, blur_on_device
from pipeline.effects.plain import Nothing
from pipeline.effects.replace import BackdropPainter
from pipeline.frame import Frame, StreamFormat
from pipeline.settings import MatteOptions

if TYPE_CHECKING:
    from engines.on_device.planes import DevicePlanes, PaintsOnDevice, Seat

__all__ = ["OnDevice", "on_device_of"]

NEEDED = frozenset({"preprocess", "segment", "render"})
"""Stages that a worker must have, all of them, for a frame to stay on the device."""
KNOWN = NEEDED | {"refine", "tap"}
"""Stages that are known to write no plane which was written on the device."""
Opening = tuple[str, str]


def on_device_of(
    stages: Collection[str], streams: Collection[int], wake: Callable[[], None], tell: Callable[[dict[str, Any]], None]
) -> "OnDevice | None":
    """What a worker with these stages needs; None where its frames stay on the host."""
    if len(streams) != 1 or not NEEDED <= set(stages) <= KNOWN or unavailable_reason() is not None:
        return None
    return OnDevice(wake, tell)


class OnDevice:
    """One worker's frames on the device; does nothing until an engine is opened that lends its buffers."""

    def __init__(self, wake: Callable[[], None], tell: Callable[[dict[str, Any]], None]) -> None:
        self._wake = wake
        self._tell = tell
        self._told: set[str] = set()
        self._made: dict[Opening, DevicePlanes] = {}
        self._serving: DevicePlanes | None = None
        self._watched: queue.SimpleQueue[Seat] = queue.SimpleQueue()
        self._watcher: threading.Thread | None = None

    # -- segment's

    def open(self, opening: Opening, engine: Engine) -> None:
        """Learn of an open engine, in the thread that prepares.

        Raises:
            EngineError: it lends its buffers, but torch or triton cannot be loaded.
        """
        resident = engine.resident()
        if resident is None:
            return
        try:
            from engines.on_device.planes import DevicePlanes
        except (ImportError, OSError) as error:
            raise EngineError(f"{engine.spec.label}: no frame stays on the GPU ({error}); --placement split") from error
        self._made[opening] = DevicePlanes(resident, engine.spec)

    def keeps(self, opening: Opening) -> bool:
        """Whether frames of this engine stay on the device."""
        return opening in self._made

    def serve(self, opening: Opening) -> None:
        """The following frames go to this engine."""
        self._serving = self._made.get(opening)

    def close(self, opening: Opening) -> None:
        """Forget an engine, before it is closed."""
        planes = self._made.pop(opening, None)
        if planes is not None:
            if planes is self._serving:
                self._serving = None
            planes.close()

    # -- preprocess's

    def take(self, frame: Frame, geometry: Geometry) -> bool:
        """Have a frame go up and be resized there; False when it stays on the host."""
        if self._serving is None:
            return False
        host = frame.plane
        seat = self._serving.take(host("image_bgr"), geometry)

        def plane(name: str) -> NDArray[Any]:
            array = host(name)
            if frame.seat is seat:
                seat.bring(name, array)
            return array

        frame.seat, frame.plane = seat, plane
        return True

    # -- render's

    def painter(
        self, opening: Opening, effect: Effect, painter: Painter, format: StreamFormat, matte: MatteOptions
    ) -> "tuple[PaintsOnDevice | None, str]":
        """What composes an effect's frames there, tried once; or None and the reason, empty when that goes unsaid.

        Args:
            painter: the host's, which has worked out what both need.
        """
        planes = self._made.get(opening)
        if planes is None or isinstance(effect, Nothing):
            return None, ""
        if matte.edges == "guided" or matte.shrink_px or matte.feather_px:
            return None, "guided edges, shrink and feather have no kernel"
        geometry = fit(format.height, format.width, planes.spec.input)
        made: PaintsOnDevice | None = None
        if isinstance(effect, Blur):
            made = blur_on_device(effect, format, geometry, planes.lanes.device)
        elif isinstance(painter, BackdropPainter):
            made = backdrop_on_device(painter, format, geometry, planes.lanes.device)
        if made is None:
            return None, f"effect {type(effect).__name__.lower()} has no kernel for what it is to do"
        mask = planes.spec.output.mask_planes
        planes.warm_up(np.zeros((format.height, format.width, 3), np.uint8), geometry, mask, made)
        return made, ""

    def paint(self, frame: Frame, painter: "PaintsOnDevice", wanted: Collection[str]) -> None:
        """Queue a frame's composite, and the copies of what the host wants; the worker is woken when all is done."""
        assert frame.seat is not None, "take() gave it one"
        seat, planes = frame.seat, frame.seat.planes
        planes.paint(seat, painter)
        for name in wanted:
            if name not in seat.fetched:
                planes.fetch(seat, name, self._slot(frame, name))
        if "composite" not in wanted:
            seat.leave("composite")
        planes.finish(seat)
        if not seat.is_done:
            self._watch(seat)

    def release(self, frame: Frame) -> None:
        """The host has all it wants of a frame."""
        seat, frame.seat = frame.seat, None
        if seat is not None:
            seat.planes.give_back(seat)

    def say_once(self, what: str, why: str) -> None:
        """Tell the supervisor; from the worker's main thread."""
        if why and why not in self._told:
            self._told.add(why)
            self._tell({"type": "event", "what": what, "why": why})

    @staticmethod
    def _slot(frame: Frame, name: str) -> NDArray[Any]:
        seat, frame.seat = frame.seat, None  # the slot's own view, nothing brought
        array = frame.plane(name)
        frame.seat = seat
        return array

    def _watch(self, seat: "Seat") -> None:
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._wait, name="device", daemon=True)
            self._watcher.start()
        self._watched.put(seat)

    def _wait(self) -> None:
        """Rings when a frame is done; what failed is raised where the frame is looked at."""
        while True:
            mark = self._watched.get().mark
            try:
                if mark is not None:
                    mark.wait()
            except RuntimeError:
                pass
            self._wake()
