"""The bar in a terminal: loss, mIoU, images per second, time to go.

It is drawn by the trainer's own thread, a few times a second at most. The trap: `ended` is not called after
an error, and a bar left open keeps the cursor hidden; so it is a context manager, and closing it twice is fine.
"""

import math
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from engines.training.watch import EvaluationFacts, Lines, Outcome, StartFacts, StepFacts, Watcher

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Bar"]

DRAWN_EVERY_S = 0.2
SMOOTHING = 0.9
"""Of the loss that is shown: about the mean of the last ten steps."""


class Bar(Watcher):
    """One line that moves; what is worth keeping is printed above it.

    Args:
        console: where to draw; by default the terminal of stdout.
    """

    def __init__(self, console: "Console | None" = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self.progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            console=console or Console(),
            auto_refresh=False,
            expand=True,
        )
        self._lines = Lines(self._print)
        self._task = self.progress.add_task("train", total=None, facts="")
        self._loss = math.nan
        self._miou = ""
        self._drawn_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.progress.stop()

    def started(self, facts: StartFacts) -> None:
        """Size of everything, then the bar."""
        self._lines.started(facts)
        self.progress.update(
            self._task, description=facts.config.name, total=facts.n_steps, completed=facts.first_step, facts="starting"
        )
        self.progress.start()
        self.progress.refresh()

    def stepped(self, facts: StepFacts) -> None:
        """Move, and draw if the last drawing is old."""
        is_first = math.isnan(self._loss)
        self._loss = facts.loss if is_first else SMOOTHING * self._loss + (1 - SMOOTHING) * facts.loss
        now_s = time.monotonic()
        if now_s - self._drawn_s < DRAWN_EVERY_S and facts.step != facts.n_steps:
            return
        self._drawn_s = now_s
        told = [f"loss {self._loss:.3f}", self._miou, f"{facts.images_per_s:.1f} img/s", f"{clock(facts.eta_s)} to go"]
        self.progress.update(self._task, completed=facts.step, facts="  ".join(filter(None, told)))
        self.progress.refresh()

    def evaluated(self, facts: EvaluationFacts) -> None:
        """A line for the record; the mean goes into the bar."""
        self._lines.evaluated(facts)
        if not math.isnan(facts.miou):
            self._miou = f"mIoU {facts.miou:.3f}"

    def warned(self, message: str) -> None:
        """Above the bar."""
        self._lines.warned(message)

    def ended(self, outcome: Outcome) -> None:
        """The bar stays as it was last."""
        self.progress.update(self._task, completed=outcome.step)
        self.progress.stop()

    def _print(self, line: str) -> None:
        self.progress.console.print(line, markup=False, highlight=False)


def clock(seconds: float) -> str:
    """`41 s`, `12:05`, `3:07:00`."""
    whole = max(0, round(seconds)) if math.isfinite(seconds) else 0
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{rest:02d}"
    return f"{minutes}:{rest:02d}" if minutes else f"{rest} s"
