"""What a person at a terminal sees while a run goes on: one line, once a second, and events as they come."""

import sys
import time
from typing import TextIO

from pipeline.supervisor import State, Supervisor
from pipeline.timing import Ledger

__all__ = ["Display"]

_BAR = 20


class Display:
    """Writes to the terminal; on a pipe it writes a plain line every five seconds instead of redrawing."""

    def __init__(self, began_s: float, out: TextIO = sys.stderr) -> None:
        """`began_s`: when this process started, on `time.monotonic`'s clock."""
        self._began_s = began_s
        self._out = out
        self._is_terminal = out.isatty()
        self._next_s = 0.0
        self._n_events = 0
        self._n_announced = 0
        self._shown_engine: dict[str, str] = {}
        self._drawn = 0
        self.start_ms: float | None = None
        """From the process's start to the first shown frame, once it was shown."""

    def __call__(self, supervisor: Supervisor) -> None:
        """Look at a run; called often, writes seldom."""
        for line in supervisor.announcements[self._n_announced :]:
            self.say(line)
        self._n_announced = len(supervisor.announcements)
        for event in supervisor.events[self._n_events :]:
            self.say(f"{event['stage']}: {event['what']}: {event['why']}")
        self._n_events = len(supervisor.events)
        if supervisor.engine_told != self._shown_engine:
            self._shown_engine = dict(supervisor.engine_told)
            self.say(self._shown_engine["choice"])
        self._look_for_start(supervisor)
        now_s = time.monotonic()
        if now_s >= self._next_s and supervisor.state is not State.STARTING and supervisor.ledgers:
            self._next_s = now_s + (1.0 if self._is_terminal else 5.0)
            self._draw(_line(supervisor))

    def say(self, text: str) -> None:
        """Write a line that stays."""
        self._draw("")
        print(text, file=self._out, flush=True)

    def end(self) -> None:
        """Leave the live line."""
        self._draw("")

    def _look_for_start(self, supervisor: Supervisor) -> None:
        if self.start_ms is not None or not supervisor.ledgers:
            return
        shown = [ledger.first_shown_ns for ledger in supervisor.ledgers.values() if ledger.first_shown_ns]
        if shown:
            first_ns = min(shown)
            self.start_ms = round(first_ns * 1e-6 - self._began_s * 1e3, 1)
            self.say(f"first frame shown {self.start_ms / 1e3:.2f} s after the start")

    def _draw(self, line: str) -> None:
        if not self._is_terminal:
            if line:
                print(line, file=self._out, flush=True)
            return
        padding = " " * max(0, self._drawn - len(line))
        print(f"\r{line}{padding}" + ("" if line else "\r"), end="", file=self._out, flush=True)
        self._drawn = len(line)


def _line(supervisor: Supervisor) -> str:
    parts = []
    for stream, ledger in sorted(supervisor.ledgers.items()):
        prefix = f"[{stream}] " if len(supervisor.ledgers) > 1 else ""
        parts.append(prefix + _stream_line(supervisor, stream, ledger))
    if supervisor.building.told:
        parts.append(supervisor.building.told)
    return "   ".join(parts)


def _stream_line(supervisor: Supervisor, stream: int, ledger: Ledger) -> str:
    latency = ledger.latency.summary_ms()
    dropped = sum(ledger.dropped().values())
    told = f"{ledger.fps():5.1f} fps  latency p50 {latency['p50']:.0f} p99 {latency['p99']:.0f} ms  dropped {dropped}"
    config = supervisor.run_plan.config
    format = supervisor.formats[stream]
    expected = format.n_frames
    if config.seconds is not None:
        expected = min(expected or sys.maxsize, round(config.seconds * float(format.rate_hz)))
    if config.max_frames is not None:
        expected = min(expected or sys.maxsize, config.max_frames)
    if not expected or format.is_live:
        return f"{told}  frame {ledger.captured}"
    share = min(1.0, ledger.captured / expected)
    bar = "#" * round(share * _BAR) + "-" * (_BAR - round(share * _BAR))
    rate = ledger.fps()
    left_s = (expected - ledger.captured) / rate if rate else 0.0
    return f"[{bar}] {share:4.0%}  {told}  ETA {max(0.0, left_s):.0f} s"
