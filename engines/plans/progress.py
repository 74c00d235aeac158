"""How far a build is, from the phases that TensorRT tells of, and how it is stopped.

Phases nest: a step of a phase may itself be a phase with steps. The trap: TensorRT calls from inside native code, where
no exception may pass; so a build is stopped by the answer False at its next step, and never by raising.
"""

import threading
import time
from typing import Any

from engines.plans.library import Library

__all__ = ["Phases", "make_monitor"]


class Phases:
    """The open phases; told by the builder's thread, read by another."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[str | None, int, int]] = {}
        """Name to (the phase around it, steps, steps done)."""
        self._start_s = self._stepped_s = time.monotonic()
        self._share = 0.0
        self.is_stopped = threading.Event()
        """Set it, and the build ends at its next step."""

    def start(self, name: str, parent: str | None, n_steps: int) -> None:
        """A phase of so many steps begins."""
        self._open[name] = (parent, max(1, n_steps), 0)

    def step(self, name: str, step: int) -> bool:
        """Step number `step` of a phase is done; False stops the build."""
        if name in self._open:
            parent, n_steps, _ = self._open[name]
            self._open[name] = (parent, n_steps, min(n_steps, step + 1))
            self._share = max(self._share, self._done())
            self._stepped_s = time.monotonic()
        return not self.is_stopped.is_set()

    def finish(self, name: str) -> None:
        """A phase is over."""
        self._open.pop(name, None)

    @property
    def share(self) -> float:
        """Of all steps, as far as they are known, 0 to 1; never falls. Steps are not equally long."""
        return self._share

    @property
    def doing(self) -> str:
        """The innermost phase."""
        return next(reversed(self._open.copy()), "finishing" if self._share else "parsing")

    def seconds(self) -> tuple[float, float | None]:
        """Gone, and to go if all steps took as long as those that are done; None before there is anything to go by.

        Steps are not equally long, so a step that has lasted is taken to last as long again: no line says that nothing
        is to go while nothing moves.
        """
        now_s = time.monotonic()
        gone_s, stalled_s = now_s - self._start_s, now_s - self._stepped_s
        if self._share <= 0.02:
            return gone_s, None
        return gone_s, max(gone_s * (1 - self._share) / self._share, stalled_s)

    def _done(self) -> float:
        """Each phase is worth one step of the phase around it; the outermost is everything."""
        share = 0.0
        for parent, n_steps, n_done in reversed(list(self._open.values())):
            share = min(1.0, (n_done + share) / n_steps)
            if parent is None or parent not in self._open:
                break
        return share


def make_monitor(library: Library, phases: Phases) -> Any:
    """A `trt.IProgressMonitor` that tells `phases`; keep it as long as the build runs."""

    class Monitor(library.trt.IProgressMonitor):  # type: ignore[misc, name-defined]  # a module without types
        def __init__(self) -> None:
            library.trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            phases.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return phases.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            phases.finish(phase_name)

    return Monitor()
