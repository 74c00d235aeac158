"""Do many streams through one segment worker reach what one stream reaches?

Each round runs three things in fresh processes: one stream flat out, N streams at F frames a second, N flat out. The
trap: N x F may be more than the engine can do, or less than it could; so the paced total is held against the smaller of
the two, what was asked for and what one stream reached in that very round.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engines.machine import machine_facts
from pipeline.bench.stream import environment, interval_of
from pipeline.errors import StreamError

__all__ = ["GOALS", "bench_streams", "figures_of", "table_of", "total_of"]

GOALS = {"paced": 0.9}
"""Total of all streams by what is possible; issue 5."""

_TIMEOUT_S = 600.0


def bench_streams(
    *,
    streams: int,
    fps: float,
    seconds: float,
    engine: str,
    effect: str,
    size: str,
    rounds: int,
    threads: int,
    overrides: tuple[str, ...],
) -> tuple[dict[str, Any], str]:
    """Measure one stream against many.

    Args:
        streams: how many.
        fps: frames a second of each, paced.
        seconds: of a paced run; flat out one stream plays `fps * streams * seconds` frames, as do all streams together.
        engine: as on the command line.
        effect: as on the command line.
        size: of the synthetic source, `WxH`.
        rounds: of everything, interleaved.
        threads: of the engine, the same in all runs.
        overrides: `key=value` for all runs.

    Returns:
        `{one, paced, flat_out, ratio, goals, ...}` and a table for people.
    """
    uri = f"synthetic:{size}@{fps:g}"
    n_frames = max(2 * streams, round(fps * streams * seconds))
    options = ["--engine", engine, "--effect", effect, "--set", f"threads={threads}"]
    options += ["--set", f"restart.open_timeout_s={_TIMEOUT_S:g}"]  # two processes a stream want to be started
    options += [part for override in overrides for part in ("--set", override)]
    lossless = ["--pacing", "lossless", "--max-frames"]
    seen: dict[str, list[dict[str, Any]]] = {"one": [], "paced": [], "flat_out": []}
    for _ in range(rounds):
        seen["one"].append(_run([uri], [*options, *lossless, str(n_frames)]))
        seen["paced"].append(_run([uri] * streams, [*options, "--pacing", "live", "--seconds", str(seconds)]))
        seen["flat_out"].append(_run([uri] * streams, [*options, *lossless, str(n_frames // streams)]))
    figures = figures_of(seen, streams * fps)
    asked = {"streams": streams, "fps": fps, "seconds": seconds, "size": size, "effect": effect, "threads": threads}
    figures.update({"asked": asked, "set": list(overrides), "rounds": rounds, "machine": machine_facts()})
    return figures, table_of(figures)


def figures_of(seen: dict[str, list[dict[str, Any]]], asked_fps: float) -> dict[str, Any]:
    """What the reports of all rounds say: totals, ratios with their intervals, order, drops, batches."""
    totals = {
        kind: [total_of(report, is_paced=kind == "paced") for report in reports] for kind, reports in seen.items()
    }
    possible = [min(asked_fps, one) for one in totals["one"]]
    first = seen["one"][0]
    return {
        "engine": first["engine"],
        "backend": first["backend"],
        **{kind: _row(reports, totals[kind]) for kind, reports in seen.items()},
        "possible_fps": round(statistics.median(possible), 2),
        "ratio": {
            "paced": interval_of(totals["paced"], possible),
            "flat_out": interval_of(totals["flat_out"], totals["one"]),
        },
        "goals": GOALS,
    }


def total_of(report: dict[str, Any], *, is_paced: bool) -> float:
    """Frames a second of all streams together, from the first frame of any to the last of any.

    Args:
        report: of a run.
        is_paced: the streams' first frames come at the same moment, one each, and none of them ends an interval;
            flat out only the very first does not.
    """
    shown = [stream for stream in _streams(report) if stream["frames"]["shown"]]
    if not shown:
        raise StreamError(f"bench streams: none of {len(_streams(report))} streams showed a frame")
    n_intervals: int = sum(stream["frames"]["shown"] for stream in shown) - (len(shown) if is_paced else 1)
    first_ns: int = min(stream["shown_ns"][0] for stream in shown)
    last_ns: int = max(stream["shown_ns"][1] for stream in shown)
    return n_intervals * 1e9 / max(1, last_ns - first_ns)


def table_of(figures: dict[str, Any]) -> str:
    """For people."""
    asked = figures["asked"]
    n, fps = asked["streams"], asked["fps"]
    names = {"one": "one stream, flat out", "paced": f"{n} at {fps:g} fps", "flat_out": f"{n} flat out"}
    threads = f"{asked['threads']} engine thread{'' if asked['threads'] == 1 else 's'}"
    what = f"synthetic {asked['size']}, effect {asked['effect']}, {figures['engine']} on {figures['backend']}"
    lines = [
        f"{what}; {threads} in all runs; rounds: {figures['rounds']}",
        "",
        "                       total fps   fps of a stream   p95 ms   at once   dropped",
    ]
    for kind, name in names.items():
        row = figures[kind]
        low, high = row["stream_fps"]
        dropped = ", ".join(f"{cause} {count}" for cause, count in row["dropped"].items()) or "none"
        lines.append(
            f"{name:<22} {row['total_fps']:9.1f}   {low:6.1f} to {high:5.1f} {row['p95_ms']:8.1f} {row['at_once']:9.1f}"
            f"   {dropped}"
        )
    paced, flat = figures["ratio"]["paced"], figures["ratio"]["flat_out"]
    goal = figures["goals"]["paced"]
    verdict = "met" if paced["ratio"] >= goal else "missed"
    late = sum(figures[kind]["out_of_order"] for kind in names)
    possible = f"the smaller of {n * fps:g} asked and one stream flat out"
    lines += [
        "",
        f"paced, total by what is possible ({possible}): {_told(paced)}; goal {goal:g}: {verdict}",
        f"flat out, {n} streams by one: {_told(flat)}",
        f"order: {'kept in every stream' if not late else f'{late} frames came after a newer one of their stream'}",
    ]
    return "\n".join(lines)


def _told(ratio: dict[str, Any]) -> str:
    return f"{ratio['ratio']:.3f} (95 % interval {ratio['low']:.3f} to {ratio['high']:.3f})"


def _row(reports: Sequence[dict[str, Any]], totals: Sequence[float]) -> dict[str, Any]:
    """One kind of run over all rounds."""
    streams = [stream for report in reports for stream in _streams(report)]
    dropped: Counter[str] = Counter()
    sizes: Counter[int] = Counter()
    for stream in streams:
        dropped.update(stream["frames"]["dropped"])
    for report in reports:
        for counts in report["batches"].values():
            sizes.update({int(size): count for size, count in counts.items()})
    return {
        "total_fps": round(statistics.median(totals), 2),
        "rounds_fps": [round(total, 2) for total in totals],
        "stream_fps": [round(edge(stream["fps"] for stream in streams), 2) for edge in (min, max)],
        "p95_ms": round(statistics.median(stream["latency_ms"]["p95"] for stream in streams), 1),
        "at_once": round(sum(n * count for n, count in sizes.items()) / sizes.total(), 2) if sizes else 1.0,
        "dropped": dict(dropped),
        # Nothing older is shown after something newer: such a frame is counted as stale, as nothing else is here.
        "out_of_order": dropped["stale"],
    }


def _streams(report: dict[str, Any]) -> list[dict[str, Any]]:
    streams: list[dict[str, Any]] = report.get("streams", [report])
    return streams


def _run(sources: list[str], options: list[str]) -> dict[str, Any]:
    """One run by the command line; its own report."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-c", "import sys; from run_stream import main; main(sys.argv[1:])", "run", *sources]
        command += [*options, "--sink", "null", "--report", str(report)]
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, env=environment(), check=False)
        if done.returncode or not report.exists():
            raise StreamError(f"bench streams: a run ended with {done.returncode}: {done.stderr.decode()[-500:]}")
        told: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        return told
