"""How fast is the whole corridor on real video, and against one process?

Rounds are interleaved, each in fresh processes, so that a machine that gets slower is slower for all;
medians count. The pipeline is run as its user runs it, by `run_stream.py run`, and says itself what it
did (`--report`).
"""

import json
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from configs import ConfigError
from engines.machine import machine_facts, usable_cores
from pipeline.bench.clip import bench_clip
from pipeline.bench.memory import PssWatch
from pipeline.errors import StreamError

__all__ = ["bench_stream", "environment", "interval_of"]

_STAGES = ("capture", "preprocess", "segment", "render")
_TIMEOUT_S = 600.0


def bench_stream(
    *,
    source: str | None,
    seconds: float,
    rate: float | None,
    baselines: tuple[str, ...],
    engine: str,
    effect: str,
    rounds: int,
    overrides: tuple[str, ...],
    against: tuple[str, ...] = (),
) -> tuple[dict[str, Any], str]:
    """Measure the pipeline, the baselines and each stage alone.

    Args:
        source: a video; None makes and keeps the bench's own clip.
        seconds: of the clip, played again and again when it is shorter; flat out it is played once.
        rate: release frames at this rate and measure latency; None measures throughput, flat out.
        baselines: `naive`, `tuned`.
        engine: as on the command line.
        effect: as on the command line.
        rounds: of everything, interleaved.
        overrides: `key=value` for the pipeline.
        against: `key=value` for a second pipeline in the same rounds; the ratio is reported with its interval.

    Returns:
        `{pipeline: report, naive, tuned, ratio, slowest_stage, efficiency, ...}` and a table for people.
    """
    clip = source or str(bench_clip())
    if source is not None and not Path(source).is_file():
        raise ConfigError(f"bench stream {source}: no such file; name a video file, or none for the bench's own clip")
    reports: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    single: dict[str, list[dict[str, Any]]] = {name: [] for name in baselines}
    for _ in range(rounds):
        reports.append(_pipeline(clip, engine, effect, seconds, rate, overrides))
        if against:
            others.append(_pipeline(clip, engine, effect, seconds, rate, (*overrides, *against)))
        for name in baselines:
            single[name].append(_one_process(name, clip, engine, effect, usable_cores()))
    figures = _figures(reports, single)
    if against:
        interval = interval_of([r["fps"] for r in reports], [r["fps"] for r in others])
        figures["against"] = {"set": list(against), **interval}
    if rate is None:
        figures.update(_efficiency(clip, engine, effect, figures["pipeline"]))
    figures["clip"] = Path(clip).name
    figures["machine"] = machine_facts()
    return figures, _table(figures, rate)


def _pipeline(
    clip: str, engine: str, effect: str, seconds: float, rate: float | None, overrides: tuple[str, ...]
) -> dict[str, Any]:
    """One run of the corridor; its own report, and the memory of all its processes."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        paced = ["--pacing", "lossless"]
        if rate is not None:
            paced = ["--pacing", "live", "--seconds", str(seconds), "--set", f"rate_hz={rate}", "--set", "loop=true"]
        command = [sys.executable, "-c", "import sys; from run_stream import main; main(sys.argv[1:])", "run", clip]
        command += ["--engine", engine, "--effect", effect, "--sink", "null", "--report", str(report), *paced]
        command += ["--build", "never"]  # one backend from the first frame to the last
        command += [part for override in overrides for part in ("--set", override)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment())
        watch = PssWatch(process.pid)
        watcher = threading.Thread(target=watch.run, daemon=True)
        watcher.start()
        try:
            _, told = process.communicate(timeout=_TIMEOUT_S + seconds)
        finally:
            process.kill()
            watch.stop()
            watcher.join()
        if process.returncode or not report.exists():
            raise StreamError(f"bench: the pipeline ended with {process.returncode}: {told.decode()[-500:]}")
        # Where the clip lies is nobody's business who reads the figures.
        text = report.read_text(encoding="utf-8").replace(f"{Path(clip).parent}/", "")
        return {**json.loads(text), "pss_mib": watch.summary()}


def _one_process(what: str, clip: str, engine: str, effect: str, n_threads: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "pipeline.bench.one_process", what, clip, engine, effect, str(n_threads)]
    done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, env=environment(), check=False)
    if done.returncode:
        raise StreamError(f"bench: {what} ended with {done.returncode}: {done.stderr.decode()[-500:]}")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def environment() -> dict[str, str]:
    """Of a child that finds the same packages."""
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)}


def _figures(reports: list[dict[str, Any]], single: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    middle = sorted(reports, key=lambda report: report["fps"])[len(reports) // 2]
    figures: dict[str, Any] = {"pipeline": middle, "rounds": {"pipeline": [r["fps"] for r in reports]}, "ratio": {}}
    for name, rounds in single.items():
        figures[name] = sorted(rounds, key=lambda told: told["fps"])[len(rounds) // 2]
        figures["rounds"][name] = [told["fps"] for told in rounds]
        ratios = [report["fps"] / told["fps"] for report, told in zip(reports, rounds, strict=True)]
        figures["ratio"][name] = round(statistics.median(ratios), 3)
    return figures


def _efficiency(clip: str, engine: str, effect: str, report: dict[str, Any]) -> dict[str, Any]:
    """The corridor can be no faster than its slowest stage alone; how near does it come?"""
    n_threads = _threads_of(report)
    alone = {s: _one_process(f"stage:{s}", clip, engine, effect, n_threads)["fps"] for s in _STAGES}
    slowest = min(alone, key=lambda stage: alone[stage])
    return {
        "stages_alone_fps": alone,
        "slowest_stage": {"name": slowest, "fps": alone[slowest]},
        "efficiency": round(report["fps"] / alone[slowest], 3),
    }


def _threads_of(report: dict[str, Any]) -> int:
    from pipeline.config import RunConfig
    from pipeline.topology import engine_threads

    return engine_threads(RunConfig.model_validate(report["config"]), live=report["pacing"] == "live")


def interval_of(ours: list[float], theirs: list[float]) -> dict[str, Any]:
    """Mean ratio ours/theirs and its 95 % interval over the rounds (normal approximation)."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    mean = statistics.fmean(ratios)
    half = 1.96 * statistics.stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else 0.0
    told = {"ratio": round(mean, 4), "low": round(mean - half, 4), "high": round(mean + half, 4)}
    return {**told, "fps": round(statistics.median(theirs), 2)}


def _table(figures: dict[str, Any], rate: float | None) -> str:
    report = figures["pipeline"]
    latency = report["latency_ms"]
    lines = [
        f"clip {figures['clip']}, {report['engine']} on {report['backend']}, "
        + (f"paced at {rate:g} fps" if rate else "flat out"),
        "",
        "                 fps      p50 ms   p95 ms   p99 ms   ratio",
        f"pipeline     {report['fps']:7.1f}    {latency['p50']:8.1f} {latency['p95']:8.1f} {latency['p99']:8.1f}",
    ]
    for name, ratio in figures["ratio"].items():
        told = figures[name]
        own = told["latency_ms"]
        lines.append(
            f"{name:<12} {told['fps']:7.1f}    {own['p50']:8.1f} {own['p95']:8.1f} {own['p99']:8.1f}   {ratio:.2f} x"
        )
    if "against" in figures:
        told = figures["against"]
        lines.append(
            f"against {' '.join(told['set'])}: {told['fps']:.1f} fps, ratio {told['ratio']:.4f} "
            f"(95 % interval {told['low']:.4f} to {told['high']:.4f})"
        )
    if "efficiency" in figures:
        alone = ", ".join(f"{name} {fps:.1f}" for name, fps in figures["stages_alone_fps"].items())
        lines += ["", f"each stage alone, fps: {alone}", f"efficiency against the slowest: {figures['efficiency']:.2f}"]
    memory = report["pss_mib"]
    told = ", ".join(f"{name} {memory[name]:.0f}" for name in ("first", "last", "max"))
    lines.append(f"memory of all processes (Pss), MiB: {told}")
    dropped = ", ".join(f"{cause} {n}" for cause, n in report["frames"]["dropped"].items()) or "none"
    lines.append(f"frames: {report['frames']['shown']} of {report['frames']['captured']} shown; dropped: {dropped}")
    lines.append("the pipeline's latency flat out is mostly waiting for a slot; measure it with --rate")
    return "\n".join(lines)
