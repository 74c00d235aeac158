"""Composites each frame with its own mask and gives it to the sinks.

A frame that lies on a device is composed there when the effect can be, and given to the sinks when the device is done
with it. The trap: a frame that is composed on the host meanwhile has to wait for those before it.
"""

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from engines.machine import usable_cores
from engines.names import resolve
from pipeline.effects import Painter, effect_from_text
from pipeline.errors import SinkError
from pipeline.fanout import Fanout, InFlight
from pipeline.frame import Frame, StreamFormat, TicketFlag
from pipeline.matte import Matte, MatteUpsampler
from pipeline.matte.steadiness import LiveSteadiness
from pipeline.settings import Settings
from pipeline.sinks import Shown, Sink, sink_from_text
from pipeline.stages import StageContext

if TYPE_CHECKING:
    from engines.on_device.planes import PaintsOnDevice

__all__ = ["Render"]

_UPDATE_NS = 500_000_000
_LOOK_NS = 30_000_000
"""How often sinks are asked what a person wants: a click should feel immediate."""
_CLOSE_TIMEOUT_S = 20.0
"""For sinks to write what they have; a supervisor in a hurry kills earlier."""


@dataclass
class _Look:
    """What one epoch's settings make of one stream."""

    upsampler: MatteUpsampler
    painter: Painter
    planes: tuple[str, ...]
    told: dict[str, Any]
    steadiness: LiveSteadiness
    on_device: "PaintsOnDevice | None" = None
    why_host: str = ""
    """Why the host paints what lies on a device; empty when that goes without saying."""


class Render:
    """`image_bgr` and the mask to `composite`, then to every sink. Holds frames until their sinks let go."""

    reads: ClassVar[frozenset[str]] = frozenset({"image_bgr", "tensor_bgr", "alpha", "labels"})
    writes: ClassVar[frozenset[str]] = frozenset({"composite"})
    needs_format: ClassVar[bool] = True
    tail: ClassVar[str] = "sinks"

    def __init__(self, context: StageContext) -> None:
        self.context = context
        self.in_flight = 2
        self.batch = 1
        self._formats: Mapping[int, StreamFormat] = {}
        self._fanouts: dict[int, Fanout] = {}
        self._looks: dict[int, _Look] = {}
        self._queued: deque[tuple[Frame, _Look, bool]] = deque()
        """On a device, in order; and whether the host gets what tells how still masks hold."""
        self._flying: deque[tuple[Frame, InFlight]] = deque()
        self._next_update_ns = 0
        self._next_look_ns = 0
        self._ended: set[int] = set()

    def begin(self, formats: Mapping[int, StreamFormat]) -> None:
        """Open the sinks.

        Raises:
            SinkError: one cannot be opened; at the start that ends the run.
        """
        self._formats = formats
        n_threads = 0
        for stream in self.context.streams:
            sinks: dict[str, Sink] = {}
            for text in self.context.options["sinks"][stream]:
                options = sink_from_text(text)
                if self.context.part and "part" in type(options).model_fields:
                    options = options.model_copy(update={"part": self.context.part})
                    self._announce(f"{text}: goes on in part {self.context.part + 1}, after render was restarted")
                if "codec" in type(options).model_fields:
                    options = options.model_copy(update={"codec": self.context.options.get("codec", "libx264")})
                sinks[text] = options.open(formats[stream], pacing=self.context.pacing, announce=self._announce)
            fanout = Fanout(sinks, live=self.context.pacing == "live", wake=self.context.wake, tell=self._failed)
            self._fanouts[stream] = fanout
            n_threads = max(n_threads, fanout.n_threads)
        # One frame with every sink that lags, one waiting, one being painted: more cannot be held at once.
        self.in_flight = n_threads + 2 if n_threads else 1
        if self.context.on_device is not None:
            self.in_flight += 1  # the device works on one while the host looks after the one before

    def prepare(self, settings: Settings) -> dict[int, _Look]:
        """Make the painters and the upsampling of these settings."""
        spec = resolve(settings.engine)
        looks = {}
        for stream in self.context.streams:
            format = self._formats[stream]
            text = settings.effects[stream] if settings.mask else "none"
            effect = effect_from_text(text).with_strength(settings.strength)
            painter = effect.open(format)
            on_device, why_host = None, ""
            if self.context.on_device is not None:
                on_device, why_host = self.context.on_device.painter(
                    settings.opening, effect, painter, format, settings.matte
                )
            matte = settings.matte.decided(
                is_on_device=on_device is not None, is_live=self.context.pacing == "live", n_cores=usable_cores()
            )
            told = {
                "engine": settings.engine,
                "effect": settings.effects[stream],
                "strength": settings.strength,
                "mask": settings.mask,
                "matte": settings.matte.model_dump(),
                "engines": self.context.options["engines"],
                "effects": self.context.options["effects"],
            }
            looks[stream] = _Look(
                MatteUpsampler(format, spec, matte), painter, spec.output.mask_planes, told,
                LiveSteadiness(format.height, format.width, spec), on_device, why_host,
            )  # fmt: skip
        return looks

    def use(self, prepared: Any) -> None:
        """Paint by these from the next frame on."""
        self._looks = prepared
        for look in self._looks.values():
            if self.context.on_device is not None:
                self.context.on_device.say_once("painted on the host", look.why_host)

    def keep(self, prepared: Sequence[Any]) -> None:
        """Painters hold nothing but memory."""
        del prepared

    def submit(self, frames: Sequence[Frame]) -> None:
        """Paint, and give to the sinks; what a device paints is given when it is done."""
        for frame in frames:
            look = self._looks[frame.ticket.stream]
            if look.on_device is not None and frame.seat is not None and self._paint_there(frame, look):
                continue
            self.settle()
            matte = self._matte(frame, look)
            look.painter.paint(frame.plane("image_bgr"), matte, frame.ticket.pts_ns, frame.plane("composite"))
            self._show(frame, look, matte, is_due=look.steadiness.is_due(frame.ticket.pts_ns))
        self._look_after_sinks()

    def finished(self) -> Iterator[Frame]:
        """Frames that every sink has let go of, in order; `shown_ns` says when the last sink took them.

        Raises:
            EngineError, DeviceLost: a device failed at one of them, or takes longer than any work may.
            SinkError: no sink is left.
        """
        while self._queued and self._queued[0][0].seat is not None and self._queued[0][0].seat.is_done:
            self._show_first()
        if self._queued and self._queued[0][0].seat is not None:
            self._queued[0][0].seat.check(self.context.work_timeout_s)
        while self._flying and self._flying[0][1].holders == 0:
            frame, flight = self._flying.popleft()
            frame.shown_ns = flight.accepted_ns
            yield frame
        self._look_after_sinks()

    def settle(self) -> None:
        """Wait for what a device composes; sinks may keep frames, which does no harm."""
        while self._queued:
            self._show_first()

    def end(self, stream: int) -> bool:
        """Close the stream's sinks."""
        if stream in self._ended:
            return True
        self._ended.add(stream)
        whole = self._fanouts[stream].close(_CLOSE_TIMEOUT_S, self.context.beat)
        self._fanouts[stream].failures()
        return whole

    def order(self, what: str) -> None:
        """`snapshot`: sinks that can, keep the next picture."""
        for fanout in self._fanouts.values():
            for sink in fanout.sinks:
                take = getattr(sink, what, None)
                if take is not None:
                    take()

    def close(self) -> None:
        """Close what is still open."""
        for stream in list(self._fanouts):
            self.end(stream)

    def _paint_there(self, frame: Frame, look: _Look) -> bool:
        """Queue the composite on the device; False when its mask is not there."""
        on_device, seat = self.context.on_device, frame.seat
        assert on_device is not None, "a seat is given by it"
        assert seat is not None, "the caller looked"
        assert look.on_device is not None, "the caller looked"
        if not all(seat.has(name) for name in look.planes):
            on_device.say_once("painted on the host", "refine makes the masks there")
            return False
        sinks = self._fanouts[frame.ticket.stream].sinks
        wanted = {"composite"} if any(getattr(sink, "needs_picture", True) for sink in sinks) else set()
        is_due = look.steadiness.is_due(frame.ticket.pts_ns)
        if is_due or any(sink.needs_matte for sink in sinks):
            wanted |= set(look.planes)
        on_device.paint(frame, look.on_device, wanted | {"tensor_bgr"} if is_due else wanted)
        self._queued.append((frame, look, is_due))
        return True

    def _show_first(self) -> None:
        """Give the sinks the first of those that a device has, when it is done with it."""
        frame, look, is_due = self._queued.popleft()
        assert frame.seat is not None, "it was queued with one"
        frame.seat.wait()
        self._show(frame, look, None, is_due=is_due)

    def _matte(self, frame: Frame, look: _Look) -> Matte:
        planes = {name: frame.plane(name) for name in look.planes}
        return look.upsampler.matte(planes.get("alpha"), planes.get("labels"), frame.plane("image_bgr"))

    def _show(self, frame: Frame, look: _Look, matte: Matte | None, *, is_due: bool) -> None:
        """Give a painted frame to the sinks; None: its matte was not made on the host."""
        ticket = frame.ticket
        fanout = self._fanouts[ticket.stream]
        kept: Matte | None = None
        if any(sink.needs_matte for sink in fanout.sinks):
            # The upsampler reuses its buffers, so a sink in a thread of its own gets a copy of the mask.
            kept = (matte or self._matte(frame, look)).copy()
        shown = Shown(
            composite_bgr=frame.plane("composite"),
            matte=kept,
            sequence=ticket.sequence,
            pts_ns=ticket.pts_ns,
            captured_ns=frame.captured_ns,
            stream=ticket.stream,
        )
        self._flying.append((frame, fanout.give(shown)))
        if is_due:
            if ticket.flags & TicketFlag.GAP:
                look.steadiness.forget()
            masks = {name: frame.plane(name) for name in look.planes}
            pair = look.steadiness.look(
                ticket.sequence, ticket.pts_ns, frame.plane("tensor_bgr"), masks.get("alpha"), masks.get("labels")
            )
            if pair is not None:
                self.context.ledgers[ticket.stream].count_pair(pair.still, pair.flipped, pair.common, pair.united)
        if self.context.on_device is not None:
            self.context.on_device.release(frame)

    def _look_after_sinks(self) -> None:
        now_ns = time.monotonic_ns()
        if now_ns < self._next_look_ns:
            return
        self._next_look_ns = now_ns + _LOOK_NS
        is_update = now_ns >= self._next_update_ns and bool(self._looks)
        if is_update:
            self._next_update_ns = now_ns + _UPDATE_NS
        for stream, fanout in self._fanouts.items():
            numbers = {**self.context.ledgers[stream].numbers(), **self._looks[stream].told} if is_update else {}
            for sink in fanout.sinks:
                if is_update:
                    sink.update(numbers)
                for command in sink.commands():
                    self.context.tell({"type": "command", "stream": stream, **command})
            if fanout.failures() and stream not in self._ended:
                raise SinkError(f"no sink is left: {'; '.join(fanout.reasons)}")

    def _announce(self, line: str) -> None:
        self.context.tell({"type": "announce", "line": line})

    def _failed(self, name: str, why: str) -> None:
        self.context.tell({"type": "event", "what": f"sink {name} failed", "why": why, "sink": name})
