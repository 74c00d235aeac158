"""Every row and seed that has no outcome yet, one after another or several side by side.

Side by side each training is a process of its own, so one that dies takes no other with it; all belong to this
process's group, so one Ctrl-C ends them all, and each goes on from its last checkpoint the next time.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.bench.ablation.outcome import outcomes_in
from engines.bench.ablation.plan import Ablation
from engines.errors import EngineError

__all__ = ["Job", "jobs_to_do", "side_by_side"]

POLL_S = 0.5
PROGRAM = (sys.executable, "-m", "engines")


@dataclass(frozen=True)
class Job:
    """One training."""

    row: str
    seed: int

    @property
    def folder(self) -> str:
        """Of its checkpoints, below the ablation's own."""
        return f"{self.row}-{self.seed}"


def jobs_to_do(
    plan: Ablation, rows: Sequence[str], seeds: Sequence[int], profile: str, results: Path
) -> tuple[list[Job], list[Job]]:
    """(to do, done already); seed by seed, so that a stopped ablation has every row once before any row twice.

    Raises:
        ConfigError: a row that the plan does not have.
    """
    done = {
        (outcome.row, outcome.seed)
        for outcome in outcomes_in(results)
        if (outcome.ablation, outcome.profile) == (plan.name, profile)
    }
    wanted = [Job(plan.row(name).name, seed) for seed in seeds for name in (rows or [row.name for row in plan.rows])]
    return (
        [job for job in wanted if (job.row, job.seed) not in done],
        [job for job in wanted if (job.row, job.seed) in done],
    )


def side_by_side(
    jobs: Sequence[Job],
    n_at_once: int,
    command_of: Callable[[Job], Sequence[str]],
    out: Path,
    say: Callable[[str], None],
) -> None:
    """Run each job's command; its words go to `out/ROW-SEED.log`.

    Args:
        command_of: arguments after `python -m engines`.

    Raises:
        EngineError: jobs that failed, after all others have ended.
    """
    waiting, running, failed = list(jobs), dict[Job, subprocess.Popen[bytes]](), list[Job]()
    out.mkdir(parents=True, exist_ok=True)
    try:
        while waiting or running:
            while waiting and len(running) < n_at_once:
                job = waiting.pop(0)
                with (out / f"{job.folder}.log").open("ab") as log:
                    running[job] = subprocess.Popen([*PROGRAM, *command_of(job)], stdout=log, stderr=subprocess.STDOUT)
                say(f"ablation: {job.folder} started, {len(waiting)} wait; {out / job.folder}.log")
            time.sleep(POLL_S)
            for job, process in list(running.items()):
                code = process.poll()
                if code is None:
                    continue
                del running[job]
                say(f"ablation: {job.folder} {'done' if code == 0 else f'ended with {code}'}")
                if code:
                    failed.append(job)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()
    if failed:
        names = ", ".join(job.folder for job in failed)
        raise EngineError(
            f"{len(failed)} of {len(jobs)} trainings failed: {names}; their last words are in {out}/*.log"
        )
