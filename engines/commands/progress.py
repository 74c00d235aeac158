"""A line on stderr that says how far a long command is; silent for the short ones.

On a terminal the line is rewritten, elsewhere a new one comes now and then, so a log stays readable.
"""

import sys
import time
from types import TracebackType
from typing import Self

import click

__all__ = ["Progress"]

QUIET_S = 1.0
"""Nothing is said before."""
REWRITE_S = 0.2
LOG_S = 30.0


class Progress:
    """Counts what is done; `with` ends the line.

    Args:
        label: `evaluate`.
        n: how many there will be, None when nobody knows.
    """

    def __init__(self, label: str, n: int | None) -> None:
        self.label = label
        self.n = n
        self.n_done = 0
        self._is_live = sys.stderr.isatty()
        self._start_s = time.monotonic()
        self._said_s = self._start_s
        self._is_open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._is_open:
            click.echo("\r\x1b[K", nl=False, err=True)

    def step(self) -> None:
        """One more is done."""
        self.n_done += 1
        now_s = time.monotonic()
        if now_s - self._said_s < (REWRITE_S if self._is_live else LOG_S) or now_s - self._start_s < QUIET_S:
            return
        self._said_s = now_s
        if self._is_live:
            self._is_open = True
            click.echo(f"\r\x1b[K{self._line(now_s)}", nl=False, err=True)
        else:
            click.echo(self._line(now_s), err=True)

    def _line(self, now_s: float) -> str:
        rate = self.n_done / (now_s - self._start_s)
        if self.n is None:
            return f"{self.label}: {self.n_done} pictures, {rate:.1f} a second"
        left_s = (self.n - self.n_done) / rate
        return f"{self.label}: {self.n_done} of {self.n} pictures, {rate:.1f} a second, {left_s:.0f} s to go"
