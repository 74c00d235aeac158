"""Capture's half of a worker: the sources, the free slots, and who may enter.

A frame enters only with a free slot, so frames in flight are never more than slots. The stream's end
enters when every slot is home again: nothing can overtake it, and after a restart it can be said anew.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2

from pipeline.config import RunConfig
from pipeline.errors import SourceError
from pipeline.frame import PlaneSpec, Ticket, TicketFlag
from pipeline.link import Bell
from pipeline.slots import SlotPool
from pipeline.sources import Source, Wanted, source_from_uri
from pipeline.stages.capture import Reader
from pipeline.timing import Ledger
from pipeline.traffic import Held, Traffic

__all__ = ["Door"]


@dataclass
class _Entry:
    """One stream at the door."""

    source: Source
    reader: Reader | None = None
    free: deque[Ticket] = field(default_factory=deque)
    n_slots: int = 0
    end_said: bool = False
    is_draining: bool = False


class Door:
    """Opens the sources, lets frames in, takes free slots back."""

    def __init__(
        self, job: dict[str, Any], config: RunConfig, tell: Callable[[dict[str, Any]], None], bell: Bell
    ) -> None:
        self._job = job
        self._config = config
        self._tell = tell
        self._bell = bell
        self._live = job["pacing"] == "live"
        self._epoch: int = job["settings"]["epoch"]
        self._entries: dict[int, _Entry] = {}
        self._events: deque[tuple[str, str]] = deque()
        self._traffic: Traffic | None = None
        self._ledgers: Mapping[int, Ledger] = {}
        self._is_running = False

    def open(self) -> None:
        """Open every source and report its format.

        Raises:
            SourceUnavailable: one cannot be opened.
        """
        wanted = Wanted.from_text(self._config.size) if self._config.size else Wanted()
        for stream in self._job["streams"]:
            uri = self._config.streams[stream].source
            options = source_from_uri(uri, wanted=wanted)
            if self._config.loop and "loop" in type(options).model_fields:
                options = options.model_copy(update={"loop": True})
            if "hwaccel" in type(options).model_fields:
                options = options.model_copy(update={"hwaccel": self._config.hwaccel})
            source = options.open()
            source.on_event = self._note
            self._entries[stream] = _Entry(source)
            self._tell({"type": "format", "stream": stream, "format": source.format.to_json()})

    def begin(self, ledgers: Mapping[int, Ledger], traffic: Traffic) -> None:
        """The memory is here; slots come with the supervisor's grant."""
        self._ledgers = ledgers
        self._traffic = traffic

    def obey(self, message: dict[str, Any]) -> None:
        """Go, drain, a new epoch, or slots that were reclaimed for us."""
        kind = message["type"]
        if kind == "grant":
            for stream, slot, generation in message["slots"]:
                if stream in self._entries:
                    self._entries[stream].free.append(Ticket(slot, generation, 0, 0, stream))
        elif kind == "epoch":
            self._epoch = max(self._epoch, message["epoch"])
        elif kind == "go" and not self._is_running:
            self._is_running = True
            for stream, entry in self._entries.items():
                entry.n_slots = message["n_slots"][str(stream)]
                if entry.is_draining:
                    continue  # told to end before it began: it only has the end to say
                entry.reader = self._reader(stream, entry)
                entry.reader.start()
        elif kind == "drain":
            for entry in self._entries.values():
                entry.is_draining = True
                if entry.reader is not None:
                    entry.reader.stop()
            self._bell.ring()

    def look_after(self) -> None:
        """Take slots home, pass events on; a source that is gone for good ends its stream."""
        assert self._traffic is not None
        returned, self._traffic.returned = self._traffic.returned, []
        for ticket in returned:
            self._entries[ticket.stream].free.append(ticket)
        while self._events:
            what, why = self._events.popleft()
            self._tell({"type": "event", "what": what, "why": why})
        for entry in self._entries.values():
            failure = entry.reader.failure if entry.reader is not None else None
            if failure is None or entry.is_draining:
                continue
            if not isinstance(failure, SourceError):
                raise failure
            entry.is_draining = True  # what is in the corridor is still shown, then the stream ends
            self._tell({"type": "failure", "why": str(failure)})

    def admit(
        self, pools: Mapping[int, SlotPool], layout: Callable[[int, int], Mapping[str, PlaneSpec]], diary: bool
    ) -> Ticket | None:
        """Let one frame in: a free slot, the picture written into it, a ticket."""
        for stream, entry in self._entries.items():
            if entry.reader is None:
                continue
            pool = pools[stream]
            while entry.free and pool.generation(entry.free[0].slot) != entry.free[0].generation:
                entry.free.popleft()  # reclaimed while it was on its way here; it comes again by grant
            if not entry.free:
                continue
            captured = entry.reader.take()
            if captured is None:
                continue
            enter_ns = time.monotonic_ns()
            slot = entry.free.popleft().slot
            flags = TicketFlag.GAP if captured.after_gap else TicketFlag.NONE
            ticket = pool.acquire(
                slot,
                sequence=captured.sequence,
                pts_ns=captured.pts_ns,
                captured_ns=captured.captured_ns,
                stream=stream,
                epoch=self._epoch,
                flags=flags,
            )
            image_bgr = pool.view(slot, layout(stream, self._epoch)["image_bgr"])
            captured.grabbed.copy_into(image_bgr)
            if self._config.mirror:
                cv2.flip(image_bgr, 1, dst=image_bgr)
            if diary:
                pool.enter(slot, 0, enter_ns)
                pool.leave(slot, 0, time.monotonic_ns())
            return ticket
        return None

    def over(self) -> list[int]:
        """Streams whose end is to be said now."""
        ending = []
        for stream, entry in self._entries.items():
            is_over = (entry.reader is not None and entry.reader.is_drained) or (
                entry.is_draining and entry.reader is None and self._is_running
            )
            if is_over and not entry.end_said and len(entry.free) >= entry.n_slots:
                entry.end_said = True
                ending.append(stream)
        return ending

    def say_end_again(self) -> None:
        """A worker was replaced: it may not have heard that the stream is over."""
        for entry in self._entries.values():
            entry.end_said = False

    def held(self) -> list[Held]:
        """Free slots, for the census."""
        return [(stream, t.slot, t.generation) for stream, entry in self._entries.items() for t in entry.free]

    def close(self) -> None:
        """Close the sources."""
        for entry in self._entries.values():
            if entry.reader is not None:
                entry.reader.stop()
            else:
                entry.source.close()

    def _reader(self, stream: int, entry: _Entry) -> Reader:
        config = self._config
        return Reader(
            entry.source,
            self._ledgers[stream],
            worker=self._job["index"],
            live=self._live,
            rate_hz=config.rate_hz,
            max_frames=config.max_frames,
            seconds=config.seconds,
            wake=self._bell.ring,
        )

    def _note(self, what: str, why: str) -> None:
        self._events.append((what, why))
        self._bell.ring()
