"""Stages that misbehave on purpose, for whole-stream tests: named in a config as `tests.stream.faults:Class`.

Each does so in its first incarnation only, so that what is tested is the recovery.
"""

import os
import signal
import time
from typing import ClassVar

from pipeline import link
from pipeline.frame import Frame, Ticket
from pipeline.stages import PlainStage, StageContext

AT = 20
"""The frame at which things go wrong."""


class DieWorking(PlainStage):
    """Is killed while it has a frame."""

    def process(self, frame: Frame) -> None:
        """Die at frame AT."""
        if frame.ticket.sequence >= AT and self.context.part == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class DieBetween(PlainStage):
    """Is killed after it wrote the next owner's word and before it sends the ticket."""

    def __init__(self, context: StageContext) -> None:
        super().__init__(context)
        if context.part:
            return
        real = link.Outlet.send

        def send(outlet: link.Outlet, ticket: Ticket) -> None:
            if ticket.sequence >= AT:
                os.kill(os.getpid(), signal.SIGKILL)
            real(outlet, ticket)

        link.Outlet.send = send  # type: ignore[method-assign]  # this process only, and it is about to die

    def process(self, frame: Frame) -> None:
        """Pass."""


class Raise(PlainStage):
    """Has a programming mistake."""

    def process(self, frame: Frame) -> None:
        """Fail at frame AT."""
        if frame.ticket.sequence >= AT and self.context.part == 0:
            raise ZeroDivisionError("on purpose")


class RaiseAlways(PlainStage):
    """Has a programming mistake that a restart does not mend."""

    def process(self, frame: Frame) -> None:
        """Fail."""
        raise ZeroDivisionError("every time")


class Freeze(PlainStage):
    """Stops answering without dying."""

    def process(self, frame: Frame) -> None:
        """Hang at frame AT."""
        if frame.ticket.sequence >= AT and self.context.part == 0:
            time.sleep(3600)


class Slow(PlainStage):
    """Takes 40 ms a frame."""

    WORK_S: ClassVar[float] = 0.04

    def process(self, frame: Frame) -> None:
        """Take time."""
        time.sleep(self.WORK_S)


class Crawl(Slow):
    """Takes 200 ms a frame."""

    WORK_S: ClassVar[float] = 0.2


class ReadsTooEarly(PlainStage):
    """Wants a plane that nobody has written where it stands."""

    reads: ClassVar[frozenset[str]] = frozenset({"alpha"})

    def process(self, frame: Frame) -> None:
        """Never runs."""
