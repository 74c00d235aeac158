"""What a run says of itself at its end: a JSON report and a table. Keys are only ever added."""

import json
from pathlib import Path
from typing import Any

from engines.machine import machine_facts
from pipeline.errors import StreamError
from pipeline.supervisor import Supervisor
from pipeline.timing import DropCause, Ledger

__all__ = ["SCHEMA", "report_of", "table_of", "write_report"]

SCHEMA = 1


def report_of(supervisor: Supervisor, start_ms: float | None) -> dict[str, Any]:
    """Everything measured in a run; with several streams the first one's figures stand at the top.

    Args:
        supervisor: of a run that has ended, its memory not yet given back.
        start_ms: from the process's start to the first shown frame.
    """
    run = supervisor.run_plan
    rest = DropCause.STOPPED if supervisor.was_cut and not supervisor.restarts else DropCause.LOST
    streams = [_stream(ledger, rest) for _, ledger in sorted(supervisor.ledgers.items())]
    first: dict[str, Any] = streams[0] if streams else {}
    formats = [format.to_json() for _, format in sorted(supervisor.formats.items())]
    report = {
        "schema": SCHEMA,
        **first,
        "start_ms": start_ms,
        "restarts": supervisor.restarts,
        "recoveries": supervisor.deaths.recoveries,
        "events": supervisor.events,
        "engine": supervisor.engine_told.get("engine", run.settings.engine),
        "backend": supervisor.engine_told.get("backend", run.config.backend),
        "placement": run.topology.placement.told,
        "builds": supervisor.building.report(),
        "crf": {engine: gate.why for engine, gate in run.gates.items()},
        "pacing": run.pacing,
        "source": formats[0]["source"] if formats else "",
        "format": formats[0] if formats else {},
        "machine": machine_facts(),
        "config": _masked(run.config.model_dump(mode="json")),
        "batches": supervisor.batches,
        "slots": {str(stream): pool.n_slots for stream, pool in sorted(supervisor.pools.items())},
    }
    if len(streams) > 1:
        report["streams"] = [{"source": f["source"], **s} for f, s in zip(formats, streams, strict=True)]
    return report


def write_report(report: dict[str, Any], path: Path) -> None:
    """Write it as JSON.

    Raises:
        StreamError: the file cannot be written.
    """
    try:
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise StreamError(f"report {path}: {error.strerror}; choose another --report file") from error


def table_of(report: dict[str, Any]) -> str:
    """The timing table at the end of a run."""
    lines = []
    for number, stream in enumerate(report.get("streams", [report])):
        if "frames" not in stream:
            return "no frame was captured"
        if "streams" in report:
            lines.append(f"stream {number}: {stream['source']}")
        frames = stream["frames"]
        dropped = ", ".join(f"{cause} {n}" for cause, n in frames["dropped"].items()) or "none"
        lines.append(
            f"{stream['fps']:.1f} fps, {frames['shown']} of {frames['captured']} frames shown; dropped: {dropped}"
        )
        lines.append("")
        lines.append("              wait ms                    work ms")
        lines.append("stage         p50      p95      p99      p50      p95      p99")
        for stage, times in stream["stages"].items():
            cells = [f"{times[kind][p]:8.2f}" for kind in ("wait_ms", "work_ms") for p in ("p50", "p95", "p99")]
            lines.append(f"{stage:<10}" + " ".join(cells))
        latency = stream["latency_ms"]
        told = "  ".join(f"{name} {latency[name]:.1f}" for name in ("p50", "p95", "p99", "max"))
        lines.append("")
        lines.append(f"latency ms    {told}")
        steady = stream["mask_steadiness"]
        if steady["flip_share"] is not None:
            of_motion = "" if steady["warped_iou"] is None else f", IoU with the mask before {steady['warped_iou']:.3f}"
            lines.append(f"mask          {steady['flip_share']:.2%} of the still pixels flip a frame{of_motion}")
    for worker, sizes in report.get("batches", {}).items():
        counts = {int(size): n for size, n in sizes.items()}
        mean = sum(size * n for size, n in counts.items()) / sum(counts.values())
        lines.append(f"{worker}: {mean:.1f} frames at once on average, at most {max(counts)}")
    lines.append("(from capture's read returning to the last sink accepting, on this host; it is not glass to glass)")
    return "\n".join(lines)


def _stream(ledger: Ledger, rest: DropCause) -> dict[str, Any]:
    percentiles = ("p50", "p95", "p99")
    stages = {}
    for stage in ledger.stages:
        wait, work = ledger.wait[stage].summary_ms(), ledger.work[stage].summary_ms()
        stages[stage] = {"wait_ms": {p: wait[p] for p in percentiles}, "work_ms": {p: work[p] for p in percentiles}}
    return {
        "fps": round(ledger.fps(), 3),
        "frames": {"captured": ledger.captured, "shown": ledger.shown, "dropped": ledger.final_dropped(rest)},
        "shown_ns": [ledger.first_shown_ns, ledger.last_shown_ns],
        "latency_ms": ledger.latency.summary_ms(),
        "stages": stages,
        "mask_steadiness": ledger.steadiness(),
    }


def _masked(config: dict[str, Any]) -> dict[str, Any]:
    from pipeline.sources import masked

    streams = [{**stream, "source": masked(stream["source"])} for stream in config["streams"]]
    return {**config, "streams": streams}
