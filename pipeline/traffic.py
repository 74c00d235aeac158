"""A worker's tickets: what came in, what it works on, where it goes next, what it drops.

The owner's word is written into the slot just before the ticket is sent, and names the worker's
incarnation; a slot whose owner is dead can so be told from one that is on its way.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import StaleTicket
from pipeline.frame import Ticket, TicketFlag
from pipeline.link import Inlet, Outlet, Waiter
from pipeline.slots import SlotPool
from pipeline.timing import DropCause, Ledger
from pipeline.turns import Turns

__all__ = ["Traffic"]

Held = tuple[int, int, int]
"""(stream, slot, generation)"""


class Traffic:
    """The inlet, the outlets and the tickets in between."""

    def __init__(
        self,
        ctx: Any,
        folder: Path,
        name: str,
        *,
        worker: int,
        live: bool,
        pools: Mapping[int, SlotPool],
        ledgers: Mapping[int, Ledger],
        next_of: Mapping[int, str | None],
        home_of: Mapping[int, str],
        waiter: Waiter,
        has_door: bool,
        is_last: bool,
    ) -> None:
        self._ctx = ctx
        self._worker = worker
        self._live = live
        self._pools = pools
        self._ledgers = ledgers
        self._next_of = next_of
        self._home_of = home_of
        self._is_last = is_last
        self._inlet = None if has_door else Inlet(ctx, folder, f"{name}.frames")
        self._credits = Inlet(ctx, folder, f"{name}.credits") if has_door else None
        for inlet in (self._inlet, self._credits):
            if inlet is not None:
                waiter.watch(inlet)
        self._waiting = Turns(pools, live=live)
        self._working: dict[tuple[int, int], Ticket] = {}
        self._routes: dict[str, tuple[dict[str, Outlet], int] | None] = {}
        self._parked: list[tuple[str, str, Ticket]] = []
        self.returned: list[Ticket] = []
        """Credits that arrived at the door's inlet; the door takes them."""

    def endpoints(self) -> dict[str, str]:
        """Where others reach this worker."""
        told = {"frames": self._inlet, "credits": self._credits}
        return {kind: inlet.endpoint for kind, inlet in told.items() if inlet is not None}

    def reroute(self, routes: Mapping[str, Any]) -> None:
        """Learn who can be reached where; what was queued for a dead incarnation is dropped with its socket."""
        for name, route in routes.items():
            token = route["token"] if route else None
            present = self._routes.get(name)
            if present is not None:
                if present[1] == token:
                    continue
                for outlet in present[0].values():
                    outlet.close()
            self._routes[name] = None
            if route is not None and self._is_peer(name):
                kinds = ("frames", "credits")
                outlets = {kind: Outlet(self._ctx, route[kind]) for kind in kinds if route.get(kind)}
                self._routes[name] = (outlets, route["token"])
        parked, self._parked = self._parked, []
        for name, kind, ticket in parked:
            self._send(name, kind, ticket)

    def listen(self) -> None:
        """Take in what has arrived. Live, a newer frame replaces an older one that waits."""
        if self._credits is not None:
            self.returned += self._credits.take()
        if self._inlet is None:
            return
        for ticket in self._inlet.take():
            if not ticket.flags & TicketFlag.END:
                try:
                    self._pools[ticket.stream].check(ticket)
                except StaleTicket:
                    self._ledgers[ticket.stream].count_dropped(self._worker, DropCause.STALE)
                    continue
            replaced = self._waiting.add(ticket, time.monotonic())
            if replaced is not None:
                self._drop_unheld(replaced, DropCause.LATE)

    def patience_s(self, at_most: int, wait_s: float) -> float:
        """How long to wait for more frames before `take`; 0: not at all, infinity: nothing is there yet."""
        return self._waiting.patience_s(at_most, wait_s, time.monotonic())

    def take(self, at_most: int) -> list[Ticket]:
        """The tickets to work on now: frames of one epoch, one a stream, or the end of a stream; see `Turns`."""
        taken = []
        for ticket in self._waiting.take(at_most):
            if not ticket.flags & TicketFlag.END:
                if self._is_last and ticket.sequence <= self._ledgers[ticket.stream].last_sequence:
                    self._drop_unheld(ticket, DropCause.STALE)  # nothing older is shown after something newer
                    continue
                self.begin(ticket)
            taken.append(ticket)
        return taken

    def begin(self, ticket: Ticket) -> None:
        """Hold a ticket as being worked on."""
        self._working[ticket.stream, ticket.slot] = ticket

    @property
    def n_working(self) -> int:
        """Frames inside this worker's stages."""
        return len(self._working)

    def hand_on(self, ticket: Ticket) -> None:
        """Send a frame to the next worker."""
        name = self._next_of[ticket.stream]
        assert name is not None, "the last worker releases"
        if self._live and self._routes.get(name) is None:
            self.drop(ticket, DropCause.RESTARTING)
            return
        self._working.pop((ticket.stream, ticket.slot), None)
        if not self._send(name, "frames", ticket):
            self._ledgers[ticket.stream].count_dropped(self._worker, DropCause.STALE)

    def hand_on_end(self, stream: int) -> None:
        """Send the end of a stream after its last frame."""
        name = self._next_of[stream]
        assert name is not None, "the last worker ends the stream"
        self._send(name, "frames", Ticket(0, 0, 0, 0, stream, flags=TicketFlag.END))

    def release(self, ticket: Ticket) -> None:
        """The frame was shown: its slot goes home."""
        self._working.pop((ticket.stream, ticket.slot), None)
        self._send(self._home_of[ticket.stream], "credits", ticket)

    def drop(self, ticket: Ticket, cause: DropCause) -> None:
        """The frame will not be shown: count it, and its slot goes home."""
        self._working.pop((ticket.stream, ticket.slot), None)
        self._drop_unheld(ticket, cause)

    def held(self) -> list[Held]:
        """Every slot that this worker holds or has queued."""
        tickets = [*self._waiting, *self._working.values(), *(ticket for _, _, ticket in self._parked), *self.returned]
        return [(t.stream, t.slot, t.generation) for t in tickets if not t.flags & TicketFlag.END]

    def _is_peer(self, name: str) -> bool:
        return name in self._next_of.values() or name in self._home_of.values()

    def _drop_unheld(self, ticket: Ticket, cause: DropCause) -> None:
        self._ledgers[ticket.stream].count_dropped(self._worker, cause)
        self._send(self._home_of[ticket.stream], "credits", ticket)

    def _send(self, name: str, kind: str, ticket: Ticket) -> bool:
        route = self._routes.get(name)
        if route is None:
            self._parked.append((name, kind, ticket))
            return True
        outlets, token = route
        if not ticket.flags & TicketFlag.END:
            try:
                self._pools[ticket.stream].hand_over(ticket, token)
            except StaleTicket:
                return False  # reclaimed meanwhile; whoever has the slot now does not know this ticket
        outlets[kind].send(ticket)
        return True
