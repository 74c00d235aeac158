"""Plans that TensorRT lacks, built before or beside the stream: `python -m engines build` in a process of its own.

`Segment` says what its engine lacks; this has it built and then asks for the engine to be opened with it, as for any
other change of settings. The trap: a builder must not outlive its run, whichever of the two is killed how. So its
standard input is a pipe that nobody writes to: at its end the builder ends itself, and what it kept is whole.
"""

import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from engines.errors import BuildError
from engines.names import resolve
from engines.plans.missing import MissingPlan, missing_plan
from pipeline.run import Run

__all__ = ["Building", "ready_plans"]

_ENTRY = (
    "import os, runpy, sys, threading; os.nice({nice}); sys.path[:] = {path!r}; "
    "threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start(); "
    "sys.argv[:] = ['engines', *{arguments!r}]; runpy.run_module('engines', run_name='__main__', alter_sys=True)"
)
"""`python -m engines`, with this process's path, so that it is the same code wherever the stream was started."""
_BESIDE = 19
"""The lowest priority: a stream that stutters would cost more than a plan that is late."""


class Building:
    """The plans of one run that are built beside it, one at a time, in the order in which they were missed."""

    def __init__(self, note: Callable[[str, str, str], None], built: Callable[[str, str], None]) -> None:
        """`note(stage, what, why)` keeps an event; `built(engine, backend)` is told when that engine has a plan."""
        self._note = note
        self._built = built
        self._jobs: dict[str, _Job] = {}
        """By the engine's name in the settings."""

    def want(self, plan: Mapping[str, str] | None) -> None:
        """Have a plan built, unless that was tried in this run; as `Segment` tells it, None for no plan."""
        if plan is not None and plan["name"] not in self._jobs:
            rest = {key: value for key, value in plan.items() if key != "name"}
            self._jobs[plan["name"]] = _Job(plan["name"], MissingPlan(**rest))

    def turn(self) -> None:
        """Start the next one, or see what became of the present one; called often, does not wait."""
        job = next((job for job in self._jobs.values() if not job.state or job.builder is not None), None)
        if job is None:
            return
        if job.builder is None:
            try:
                job.start()
            except OSError as error:  # no more processes, no more files: the stream goes on without a plan
                job.state = "failed"
                self._note("build", "failed", f"{job.plan.title}: {error.strerror}; {job.plan.command}")
                return
            self._note("build", "building", f"{job.plan.title}, beside the stream, which changes over when it is there")
        elif (code := job.builder.poll()) is not None:
            told = job.finish("failed" if code else "built")
            if code:
                self._note("build", "failed", f"{job.plan.title}: {told or f'exit {code}'}")
            else:
                self._note("build", "built", f"{told}; it is opened beside the stream")
                self._built(job.engine, job.plan.backend)

    def end(self) -> None:
        """The run is over: kill what is still at work."""
        for job in self._jobs.values():
            if job.builder is not None:
                job.builder.kill()
                job.finish("stopped")
                self._note("build", "stopped", f"{job.plan.title}: the stream ended before; {job.plan.command}")

    @property
    def told(self) -> str:
        """What is being built now, for a person who watches; empty for nothing."""
        return next((job.told for job in self._jobs.values() if job.builder is not None), "")

    def report(self) -> list[dict[str, Any]]:
        """Each plan that was missed, what became of it, how long that took, and what the builder said."""
        return [
            {
                "engine": job.plan.label,
                "backend": job.plan.backend,
                "command": job.plan.command,
                "state": job.state or "not begun",
                "seconds": round(job.seconds, 1),
                "output": job.output,
            }
            for job in self._jobs.values()
        ]


def ready_plans(run: Run, say: Callable[[str], None]) -> None:
    """With `build: wait`: build every plan that the run's engines lack, before a worker starts.

    Raises:
        BuildError: it cannot be built, and the backend was named; with `auto` it is said, and the stream goes without.
        KeyboardInterrupt: as usual, when the builder has ended; nothing is half written.
    """
    config = run.config
    if config.build != "wait":
        return
    for engine in run.engines:
        plan, _ = missing_plan(resolve(engine), config.backend, config.arithmetic)
        if plan is None:
            continue
        say(f"build: {plan.title}, before the stream starts ({plan.why})")
        try:
            _build_now(plan)
        except BuildError as error:
            if config.backend != "auto":
                raise
            say(str(error))


@dataclass
class _Job:
    engine: str
    plan: MissingPlan
    builder: "subprocess.Popen[bytes] | None" = None
    state: str = ""
    output: str = ""
    began_s: float = 0.0
    seconds: float = 0.0
    _said: IO[bytes] | None = None

    def start(self) -> None:
        with contextlib.ExitStack() as on_failure:
            said = on_failure.enter_context(tempfile.TemporaryFile())
            self.builder = _started(self.plan, _BESIDE, said.fileno())
            on_failure.pop_all()
        self._said = said
        self.state, self.began_s = "building", time.monotonic()

    @property
    def told(self) -> str:
        return f"building {self.plan.label} ({time.monotonic() - self.began_s:.0f} s)"

    def finish(self, state: str) -> str:
        """Wait for the builder's end, keep what it said, and return its last word."""
        assert self.builder is not None
        assert self._said is not None
        _close(self.builder)
        self.state, self.builder, self.seconds = state, None, time.monotonic() - self.began_s
        self._said.seek(0)
        self.output = self._said.read().decode(errors="replace").strip()
        self._said.close()
        lines = [line for line in self.output.splitlines() if line and not line.startswith("build: ")]
        return lines[-1].removeprefix("error: ") if lines else ""


def _build_now(plan: MissingPlan) -> None:
    """Build with progress on this process's stderr; Ctrl-C is handed on, and the builder's end is waited for."""
    was_interrupted = False
    builder = _started(plan, 0, 2)
    try:
        while True:
            try:
                code = builder.wait()
                break
            except KeyboardInterrupt:
                was_interrupted = True
                builder.send_signal(signal.SIGINT)  # a second one has it end at once
    finally:
        _close(builder)
    if was_interrupted:
        raise KeyboardInterrupt
    if code:
        raise BuildError(f"{plan.title} was not built (exit {code}, the reason is above); try it alone: {plan.command}")


def _started(plan: MissingPlan, nice: int, output: int) -> "subprocess.Popen[bytes]":
    path = [entry or str(Path.cwd()) for entry in sys.path]
    entry = _ENTRY.format(nice=nice, path=path, arguments=plan.arguments)
    # A group of its own: Ctrl-C in a terminal is for this process alone, which knows what it means.
    return subprocess.Popen(
        [sys.executable, "-c", entry], stdin=subprocess.PIPE, stdout=output, stderr=output, process_group=0
    )


def _close(builder: "subprocess.Popen[bytes]") -> None:
    assert builder.stdin is not None
    builder.stdin.close()
    builder.wait()
