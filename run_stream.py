"""segstream's command line: run, bench, list, doctor, parity.

`python run_stream.py run demo` shows a person cut out of a moving picture. Everything heavy is
imported by the command that needs it, so that help and errors come at once.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import click

from configs import ConfigError

__all__ = ["main"]

_INTERRUPTED = 130


def _process_start_s() -> float:
    """When this process was started, on `time.monotonic`'s clock; the import of this module where that is unknown."""
    try:
        ticks = int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
        age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
        return time.monotonic() - age_s
    except (OSError, ValueError, AttributeError):
        return time.monotonic()


_BEGAN_S = _process_start_s()


class _Cli(click.Group):
    """Turns the house's own errors into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        if ctx.params.get("traceback"):
            return super().invoke(ctx)
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            sys.exit(_INTERRUPTED)
        except Exception as error:
            code = _exit_code(error)
            if code is None:
                raise
            click.echo(f"segstream: {_one_line(error)}", err=True)
            sys.exit(code)


def _exit_code(error: Exception) -> int | None:
    if isinstance(error, ConfigError):
        return 2
    from engines.errors import EngineError, EngineNotFound
    from pipeline.errors import StreamError, WiringError

    if isinstance(error, EngineNotFound | WiringError):
        return 2
    if isinstance(error, EngineError | StreamError):
        return 1
    if isinstance(error, ImportError) and "libGL" in str(error):
        return 1
    return None


def _one_line(error: Exception) -> str:
    if isinstance(error, ImportError) and "libGL" in str(error):
        return f"OpenCV cannot be loaded ({error}); install what it needs: sudo apt-get install -y libgl1 libglib2.0-0"
    from pipeline.sources.uri import scrubbed_of_logins

    return scrubbed_of_logins(str(error))


@click.group(cls=_Cli, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--traceback", is_flag=True, help="Show the whole Python traceback of an error.")
@click.version_option(package_name="segstream")
def main(traceback: bool) -> None:
    """Real-time semantic segmentation of live video."""
    del traceback


@main.command()
@click.argument("sources", nargs=-1, metavar="SOURCE...")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="A YAML file; options win over it.")
@click.option("--engine", help="NAME[@WxH][:precision] or a path. Default: person.")
@click.option("--swap", "engines", multiple=True, metavar="ENGINE", help="Another engine to choose while running.")
@click.option(
    "--backend",
    help="tensorrt, tensorrt_rtx, torch_cuda, onnxruntime_cuda, openvino, onnxruntime; default: the best that works.",
)
@click.option(
    "--build",
    type=click.Choice(["never", "background", "wait"]),
    help="A TensorRT plan that is missing: beside the stream (default), before it, or not at all.",
)
@click.option(
    "--placement", type=click.Choice(["auto", "fused", "split"]), help="One worker for all on a GPU, or one a stage."
)
@click.option("--effect", help="NAME[:VALUE], such as blur:12, replace:beach.jpg, overlay. Default: blur.")
@click.option(
    "--sink", "sinks", multiple=True, help="window, browser[:PORT], file:PATH, frames:DIR, masks:DIR, jsonl:PATH, null."
)
@click.option("--pacing", type=click.Choice(["auto", "live", "lossless"]), help="Newest frame, or every frame.")
@click.option(
    "--crf",
    type=click.Choice(["off", "auto", "fast", "exact", "reference"]),
    help="Dense CRF after the engine; auto: as its manifest says.",
)
@click.option(
    "--stability", type=click.FloatRange(0, 1), help="Steadier masks: 0 (off, the default) to 1 (longest memory)."
)
@click.option(
    "--edges",
    type=click.Choice(["auto", "guided", "linear"]),
    help="On the picture's edges, or plainly enlarged; auto: guided, but linear on a GPU, and live on < 4 cores.",
)
@click.option("--shrink", type=click.IntRange(-20, 20), metavar="PX", help="Move contours inwards; below 0, outwards.")
@click.option("--feather", type=click.IntRange(0, 50), metavar="PX", help="Soften contours by so many pixels.")
@click.option("--size", help="WxH or WxH@FPS: wanted of a camera, made by demo and synthetic.")
@click.option("--mirror", is_flag=True, default=None, help="Left and right exchanged, as in a mirror.")
@click.option("--max-frames", type=click.IntRange(min=1), help="End after so many captured frames.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="End after so long on the source's clock.")
@click.option(
    "--report", "report_path", type=click.Path(path_type=Path, dir_okay=False), help="Write what was measured as JSON."
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Any option of the config file, dotted.")
def run(config_path: Path | None, report_path: Path | None, **options: Any) -> None:
    """Segment SOURCE and show, save or serve the result.

    SOURCE is 0 or /dev/videoN (a camera), rtsp://..., http(s)://..., a file, `synthetic` or `demo`.
    Several sources are several streams through the same engine.
    """
    from configs import load
    from pipeline.config import RunConfig

    config = load(RunConfig, config_path, [*_as_overrides(options), *options["overrides"]])
    sys.exit(_run(config, report_path))


def _as_overrides(options: dict[str, Any]) -> list[str]:
    """The command line's own options as overrides, so that there is one way in."""
    told = []
    same_name = "engine backend build placement effect pacing stability size mirror max_frames seconds"
    for key in same_name.split():
        if options.get(key) is not None:
            told.append(f"{key}={json.dumps(options[key])}")
    if options["crf"] is not None:
        told.append(f'crf.method="{options["crf"]}"')
    for option, key in (("edges", "edges"), ("shrink", "shrink_px"), ("feather", "feather_px")):
        if options[option] is not None:
            told.append(f"matte.{key}={json.dumps(options[option])}")
    if options["engines"]:
        told.append(f"engines={json.dumps(options['engines'])}")
    sinks = list(options["sinks"])
    if options["sources"]:
        streams = [{"source": source, "sinks": sinks} for source in options["sources"]]
        told.append(f"streams={json.dumps(streams)}")
    elif sinks:
        told.append(f"streams.0.sinks={json.dumps(sinks)}")
    return told


def _run(config: Any, report_path: Path | None) -> int:
    from pipeline.building import ready_plans
    from pipeline.display import Display
    from pipeline.report import report_of, table_of, write_report
    from pipeline.run import check_outputs, inputs_of, outputs_of, prepare, ready_crf
    from pipeline.supervisor import Supervisor

    plan = prepare(config)
    _check_folder(report_path, "--report")
    if report_path is not None:
        read = inputs_of(config, plan.settings.effects)
        check_outputs([(f"--report {report_path}", report_path)], [*read, *outputs_of(plan.sinks)])
    display = Display(_BEGAN_S)
    steadied = f", stability {config.stability:g}" if config.stability else ""
    sinks = ", ".join(text for texts in plan.sinks for text in texts)
    display.say(f"{plan.pacing} ({plan.why_pacing}), sinks {sinks}{steadied}; {plan.topology.placement.told}")
    for line in plan.crf_told:
        display.say(line)
    ready_crf(plan.crf_methods, display.say)
    ready_plans(plan, display.say)
    supervisor = Supervisor(plan, display)
    try:
        try:
            supervisor.run()
        finally:
            display(supervisor)
            display.end()
            if any(ledger.captured for ledger in supervisor.ledgers.values()):
                report = report_of(supervisor, display.start_ms)
                click.echo(table_of(report))
                if report_path is not None:
                    write_report(report, report_path)
    finally:
        supervisor.close()
    return _INTERRUPTED if supervisor.was_interrupted else 0


@main.command("list")
def list_command() -> None:
    """Sources, effects, sinks, engines, cameras and backends that are here."""
    from pipeline.listing import list_all

    click.echo(list_all())


@main.command()
def doctor() -> None:
    """Look at this machine: what works, what does not, and what would mend it."""
    from pipeline.doctor import diagnose, told

    findings = diagnose()
    click.echo(told(findings))
    if any(finding.verdict == "fail" for finding in findings):
        sys.exit(1)


@main.group()
def bench() -> None:
    """Measure on this machine, side by side."""


@bench.command("stream")
@click.argument("source", required=False)
@click.option("--seconds", type=click.FloatRange(min=1), default=10.0, show_default=True, help="Length of one round.")
@click.option("--rate", type=click.FloatRange(min=0.1), help="Release frames at this rate, as a camera would.")
@click.option("--baseline", "baselines", multiple=True, type=click.Choice(["naive", "tuned"]), help="Compare with it.")
@click.option("--engine", default="person", show_default=True)
@click.option("--effect", default="blur:12", show_default=True)
@click.option(
    "--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Interleaved rounds; medians count."
)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Any option of a config file, for the pipeline."
)
@click.option("--against", multiple=True, metavar="KEY=VALUE", help="A second pipeline with this, in the same rounds.")
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False))
def bench_stream(json_path: Path | None, **options: Any) -> None:
    """How fast is the whole corridor, and against one process?"""
    from pipeline.bench.stream import bench_stream as measure

    _check_folder(json_path, "--json")
    _tell(measure(**options), json_path)


@bench.command("streams")
@click.option("--streams", type=click.IntRange(2, 16), default=8, show_default=True, help="Synthetic ones.")
@click.option("--fps", type=click.FloatRange(min=0.5, max=1000), default=5.0, show_default=True, help="Of each, paced.")
@click.option("--seconds", type=click.FloatRange(min=1), default=10.0, show_default=True, help="Length of a paced run.")
@click.option("--engine", default="person@256x256", show_default=True)
@click.option("--effect", default="blur:12", show_default=True)
@click.option("--size", default="640x360", show_default=True, help="Of the streams.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Interleaved.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Of the engine.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Any option of a config file.")
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False))
def bench_streams(json_path: Path | None, **options: Any) -> None:
    """Do many streams through one segment worker reach what one stream reaches?"""
    from pipeline.bench.streams import bench_streams as measure

    _check_folder(json_path, "--json")
    _tell(measure(**options), json_path)


@bench.command("transport")
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--seconds", type=click.FloatRange(min=0.1), default=1.0, show_default=True, help="For each way and size."
)
def bench_transport(json_path: Path | None, seconds: float) -> None:
    """How many frames a second go from one process to another?"""
    from pipeline.bench.transport import bench_transport as measure

    _check_folder(json_path, "--json")
    _tell(measure(seconds=seconds), json_path)


@bench.command("temporal")
@click.argument("clips", nargs=-1, metavar="[CLIP]...")
@click.option("--labelled", type=click.Path(path_type=Path, file_okay=False, exists=True), help="images/ and masks/.")
@click.option("--engine", default="person", show_default=True)
@click.option("--stability", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True)
@click.option("--max-frames", type=click.IntRange(min=2), default=300, show_default=True, help="Of each clip.")
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False))
def bench_temporal(json_path: Path | None, **options: Any) -> None:
    """Do masks hold still with --stability, and do they keep up?"""
    from pipeline.bench.temporal import bench_temporal as measure

    _check_folder(json_path, "--json")
    _tell(measure(**options), json_path)


@bench.command("matte")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="A folder of images and masks to score.")
@click.option("--engine", default="person", show_default=True, help="For --data.")
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False))
def bench_matte(json_path: Path | None, **options: Any) -> None:
    """What do better edges, colours and blurs gain at 720p, and cost on one core?"""
    from pipeline.bench.matte import bench_matte as measure

    _check_folder(json_path, "--json")
    _tell(measure(**options), json_path)


@bench.command("crf")
@click.option(
    "--sets", type=click.Path(path_type=Path, dir_okay=False), default=Path("tests/data/sets.yaml"), show_default=True
)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Turns of each method.")
@click.option("--engine", default="person", show_default=True, help="Whose masks of the clips are refined.")
@click.option("--many", metavar="ENGINE", help="One of many classes, to be refined too.")
@click.option("--max-frames", type=click.IntRange(min=2), default=60, show_default=True, help="Of each clip.")
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False))
def bench_crf(json_path: Path | None, **options: Any) -> None:
    """How fast is the dense CRF, and how near to pydensecrf?"""
    from pipeline.bench.crf import bench_crf as measure

    _check_folder(json_path, "--json")
    _tell(measure(**options), json_path)


@main.command()
@click.argument("engine")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="The labelled set.")
@click.option("--format", "data_format", help="folder, voc, cityscapes, camvid, coco, shapes; default: folder.")
@click.option("--split", default="", help="Part of the data set, such as val.")
@click.option("--prefix", default="", help="Only pictures whose name begins so.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many pictures.")
@click.option("--checkpoint", type=click.Path(path_type=Path, exists=True), help="What ENGINE was exported from.")
@click.option("--backend", default="auto", show_default=True, help="Of the stream.")
@click.option("--seed-fault", default="", help="bgr-swap, limited-range, half-pixel: is it caught, by its name?")
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures here.")
def parity(
    engine: str, data: Path, data_format: str | None, split: str, prefix: str, json_path: Path | None, **options: Any
) -> None:
    """Does the stream see what the evaluation saw?

    Plays a labelled set through the real corridor and scores checkpoint, ONNX graph, lossless and H.264 stream side by
    side. Exit 1 when two of the first three differ by more than 0.05 points of mIoU, or a tensor by one bit.
    """
    from configs import load
    from engines.data.datasets import DatasetOptions
    from pipeline.parity.measure import measure
    from pipeline.parity.verdict import problems, report, table

    _check_folder(json_path, "--json")
    named = {"path": str(data), "format": data_format, "split": split, "prefix": prefix}
    wanted = load(DatasetOptions, None, [f"{key}={json.dumps(value)}" for key, value in named.items() if value])
    measured = measure(engine, wanted, progress=lambda line: click.echo(f"parity: {line}", err=True), **options)
    _tell((report(measured), table(measured)), json_path)
    if problems(measured):
        sys.exit(1)


def _check_folder(path: Path | None, option: str) -> None:
    if path is not None and not path.resolve().parent.is_dir():
        raise ConfigError(f"{option} {path}: there is no folder {path.resolve().parent}; make it first")


def _tell(measured: tuple[dict[str, Any], str], json_path: Path | None) -> None:
    figures, table = measured
    click.echo(table)
    if json_path is not None:
        json_path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
