"""What works on this machine, what does not, and the one command that would mend it.

Every library is tried, not looked up: a package that is installed and cannot be loaded is the usual
trouble (OpenCV without libGL). The trap: this module is needed most where imports fail, so it
imports nothing at its head that a broken installation could lack.
"""

import importlib
import os
import platform
import resource
import socket
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from types import ModuleType

from engines.crf_gate import gate_of
from engines.errors import EngineError
from engines.machine import machine_facts, nvidia_reason, usable_cores
from engines.names import known_engines, resolve, spec_of
from engines.runtime import automatic_backends, backend_reason
from engines.runtime.expected import no_gpu_reason
from pipeline.listing import cameras_found

__all__ = ["Finding", "Verdict", "diagnose", "told"]

BROWSER_PORT = 8642
OLDEST_PYTHON = (3, 11)
NEEDED_MEMORY_BYTES = 1 << 30
"""A stream keeps 0.6 GB; less than this leaves nothing for the machine."""
NEEDED_FILES = 256


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    """A stream runs, with less."""
    FAIL = "fail"
    """A stream does not run, or not well enough to be used."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    topic: str
    verdict: Verdict
    told: str
    """What was found."""
    remedy: str = ""
    """What would mend it; empty when there is nothing to mend."""


def diagnose() -> list[Finding]:
    """Look at everything a stream may need; takes a second or two, changes nothing, starts nothing."""
    return [finding for check in CHECKS for finding in check()]


def told(findings: Iterable[Finding]) -> str:
    """The findings as lines for people: verdict, topic, what was found, and the remedy below it."""
    rows = list(findings)
    width = max((len(row.topic) for row in rows), default=0)
    lines = []
    for row in rows:
        lines.append(f"{row.verdict:<4}  {row.topic:<{width}}  {row.told}")
        if row.remedy:
            lines.append(f"{'':<4}  {'':<{width}}  -> {row.remedy}")
    return "\n".join(lines)


def _python() -> list[Finding]:
    version = platform.python_version()
    if sys.version_info[:2] < OLDEST_PYTHON:
        return [Finding("Python", Verdict.FAIL, f"{version}, expected 3.11 or newer", "install Python 3.11 or newer")]
    return [Finding("Python", Verdict.OK, f"{version} on {platform.system()} {platform.machine()}")]


def _cpu() -> list[Finding]:
    facts = machine_facts()
    features = facts["cpu_features"]
    assert isinstance(features, list)
    n_cores = usable_cores()
    text = f"{facts['cpu']}, {n_cores} of {facts['cores']} cores usable, {' '.join(features) or 'no vector extensions'}"
    if n_cores < 2:
        return [Finding("CPU", Verdict.WARN, text, "give it two cores or more: stages run side by side")]
    if platform.machine() == "x86_64" and "avx2" not in features:
        return [
            Finding("CPU", Verdict.WARN, text, "without AVX2 expect a few frames a second; try --engine person@256x256")
        ]
    return [Finding("CPU", Verdict.OK, text)]


def _nvidia() -> list[Finding]:
    reason = nvidia_reason()
    gpu = reason or "driver present, libcuda can be loaded"
    findings = [Finding("NVIDIA GPU", Verdict.OK, gpu)]
    for name in ("tensorrt", "tensorrt_rtx"):
        module, problem = _imported(name)
        if module is not None:
            told = f"{name} {_version(module)}; python -m engines build makes plans with it"
            return [*findings, Finding("TensorRT", Verdict.OK, told)]
        if not isinstance(problem, ModuleNotFoundError):
            return [*findings, Finding("TensorRT", Verdict.WARN, f"{name} cannot be loaded ({problem})")]
    return [*findings, Finding("TensorRT", Verdict.OK, "not installed, not needed")]


def _page_lock() -> list[Finding]:
    """Whether a GPU may copy straight from the slots: a page of their kind of memory is tried."""
    if (reason := nvidia_reason()) is not None:
        return [Finding("Page-locked slots", Verdict.OK, f"not needed: {reason}")]
    from engines.runtime.page_lock import PageLock
    from pipeline.memory import Region

    lock = PageLock()
    with Region.create(1 << 16, "doctor") as region:
        try:
            lock.lock([region.span])
        except EngineError as error:
            told = f"{error}; copies to the GPU take longer, nothing else"
            return [
                Finding("Page-locked slots", Verdict.WARN, told, "pip install 'segstream[cuda]'; ulimit -l unlimited")
            ]
        finally:
            lock.release()
    return [Finding("Page-locked slots", Verdict.OK, "the GPU copies straight from them")]


def _build() -> list[Finding]:
    """What `run --build` would do for the engine that runs unless another is named."""
    from engines.plans.missing import missing_plan
    from pipeline.config import RunConfig

    try:
        plan, reason = missing_plan(resolve(RunConfig().engine))
    except EngineError:
        return []  # of the engine, and told there
    if plan is None:
        return [Finding("--build", Verdict.OK, f"nothing to build: {reason}")]
    told = f"run builds a plan of {plan.title} beside the stream, once; to have it before:"
    return [Finding("--build", Verdict.OK, told, plan.command)]


def _backends() -> list[Finding]:
    findings = []
    for topic, name in (("OpenVINO", "openvino"), ("ONNX Runtime", "onnxruntime")):
        reason = backend_reason(name)
        if reason is None:
            findings.append(Finding(topic, Verdict.OK, _version(importlib.import_module(name)).split("-")[0]))
        else:
            findings.append(Finding(topic, Verdict.WARN, reason, f"pip install {name}"))
    if all(finding.verdict is not Verdict.OK for finding in findings):
        findings.append(Finding("Backend", Verdict.FAIL, "no engine can run", "pip install openvino"))
    return findings


def _auto() -> list[Finding]:
    """What `--backend auto` takes for the engine that runs unless another is named, and why nothing better."""
    from pipeline.config import RunConfig

    try:
        reasons = automatic_backends(resolve(RunConfig().engine))
    except EngineError:
        return []  # of the engine, and told there
    told: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        told.setdefault(reason or "", []).append(name)
    those_that_work = told.pop("", [])
    text = " > ".join(those_that_work) or "none works"
    missing = "".join(f"; not {', '.join(names)}: {reason}" for reason, names in told.items())
    return [Finding("--backend auto", Verdict.OK if those_that_work else Verdict.FAIL, text + missing)]


def _placement() -> list[Finding]:
    """Whether `--placement auto` gives stages one process or several."""
    reason = no_gpu_reason()
    told = f"split: a process a stage ({reason})" if reason else "fused: one process for all that a GPU does"
    return [Finding("--placement auto", Verdict.OK, told)]


def _crf() -> list[Finding]:
    from engines.crf import unavailable_reason

    findings = []
    for topic, method, used_by in (
        ("Dense CRF", "fast", "--crf fast and exact"),
        ("Reference CRF", "reference", "--crf reference"),
    ):
        reason = unavailable_reason(method)
        if reason is None:
            findings.append(Finding(topic, Verdict.OK, f"what {used_by} needs is installed"))
        else:
            name, _, remedy = reason.partition("; ")
            findings.append(Finding(topic, Verdict.OK, f"{name}; only {used_by} needs it", remedy))
    for known in known_engines():
        if (manifest := known.manifest) is not None:
            default = next((one for one in manifest.graphs if one.file == manifest.default_graph), manifest.graphs[0])
            gate = gate_of(spec_of(manifest, default, known.manifest_path.parent))
            findings.append(Finding("--crf auto", Verdict.OK, f"{known.name}: {gate.why}"))
    return findings


def _opencv() -> list[Finding]:
    module, problem = _imported("cv2")
    if module is not None:
        return [Finding("OpenCV", Verdict.OK, _version(module))]
    if "No module" in str(problem):
        return [Finding("OpenCV", Verdict.FAIL, "not installed", "pip install opencv-python")]
    return [Finding("OpenCV", Verdict.FAIL, str(problem), "sudo apt-get install -y libgl1 libglib2.0-0")]


def _ffmpeg() -> list[Finding]:
    module, problem = _imported("av")
    if module is None:
        return [Finding("FFmpeg", Verdict.FAIL, f"PyAV cannot be loaded ({problem})", "pip install av")]
    text = f"PyAV {_version(module)}, FFmpeg {getattr(module, 'ffmpeg_version_info', '(version unknown)')}"
    try:
        module.Codec("libx264", "w")
    except ValueError:  # PyAV's UnknownCodecError is one
        remedy = "pip install --force-reinstall --only-binary av av"
        return [Finding("FFmpeg", Verdict.FAIL, f"{text}, without libx264: no file can be written", remedy)]
    return [Finding("FFmpeg", Verdict.OK, f"{text}, libx264")]


def _gpu_video() -> list[Finding]:
    """Whether a GPU can decode and encode: each is opened once, where there is a driver."""
    from pipeline.sinks.nvenc import nvenc_reason
    from pipeline.sources.nvdec import nvdec_reason

    findings = []
    for topic, reason, key in (("NVDEC", nvdec_reason, "hwaccel=cuda"), ("NVENC", nvenc_reason, "codec=h264_nvenc")):
        why = reason()
        told = f"H.264 works; --set {key}" if why is None else f"not used: {why}"
        findings.append(Finding(topic, Verdict.OK, told))
    return findings


def _display() -> list[Finding]:
    for name in ("WAYLAND_DISPLAY", "DISPLAY"):
        if os.environ.get(name):
            return [Finding("Display", Verdict.OK, f"{name}={os.environ[name]}")]
    return [Finding("Display", Verdict.OK, "none: run shows the picture in the browser")]


def _cameras() -> list[Finding]:
    cameras = cameras_found()
    if not cameras:
        return [Finding("Cameras", Verdict.WARN, "no /dev/video* that gives pictures", "plug one in, or run demo")]
    findings = []
    for camera in cameras:
        if not camera.problem:
            findings.append(Finding("Cameras", Verdict.OK, f"{camera.path}: {camera.name}"))
        elif "permission" in camera.problem:
            remedy = "sudo usermod -aG video $USER   (then log in again)"
            findings.append(Finding("Cameras", Verdict.FAIL, f"{camera.path}: {camera.problem}", remedy))
        else:
            remedy = f"close what uses it (fuser -v {camera.path} shows it), or unplug it and plug it in again"
            findings.append(Finding("Cameras", Verdict.WARN, f"{camera.path}: {camera.problem}", remedy))
    return findings


def _memory() -> list[Finding]:
    facts = machine_facts()
    sizes = [size for size in (facts["memory_bytes"], facts["memory_limit_bytes"]) if isinstance(size, int)]
    text = " of machine, ".join(f"{size / 2**30:.1f} GiB" for size in sizes) or "unknown"
    text += " of container" if len(sizes) == 2 else ""
    locked, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    text += f"; may lock {'any amount' if locked == resource.RLIM_INFINITY else f'{locked >> 10} KiB'}"
    if sizes and min(sizes) < NEEDED_MEMORY_BYTES:
        findings = [Finding("Memory", Verdict.FAIL, text, "give it 1 GiB or more; a smaller source size needs less")]
    else:
        findings = [Finding("Memory", Verdict.OK, text)]
    try:
        os.close(os.memfd_create("segstream-doctor"))
        findings.append(Finding("Shared memory", Verdict.OK, "memfd: nothing can be left behind"))
    except (AttributeError, OSError) as error:
        findings.append(Finding("Shared memory", Verdict.WARN, f"no memfd ({error}): named shared memory is used", ""))
    return findings


def _open_files() -> list[Finding]:
    n_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if n_files != resource.RLIM_INFINITY and n_files < NEEDED_FILES:
        return [Finding("Open files", Verdict.WARN, f"limit {n_files}", f"ulimit -n {NEEDED_FILES * 4}")]
    return [Finding("Open files", Verdict.OK, f"limit {'none' if n_files == resource.RLIM_INFINITY else n_files}")]


def _engines() -> list[Finding]:
    findings = []
    for known in known_engines():
        if known.manifest is None:
            findings.append(Finding("Engines", Verdict.WARN, known.problem, "export it again, or remove its folder"))
            continue
        try:
            for graph in known.manifest.graphs:
                resolve(f"{known.manifest_path}@{graph.size}:{graph.precision}")
        except EngineError as error:
            findings.append(Finding("Engines", Verdict.FAIL, str(error), "fetch or export it again"))
        else:
            findings.append(Finding("Engines", Verdict.OK, f"{known.name}: {known.graphs} ({known.manifest_path})"))
    if not findings:
        findings.append(Finding("Engines", Verdict.FAIL, "none found", "pip install --force-reinstall segstream"))
    return findings


def _port() -> list[Finding]:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", BROWSER_PORT))
        except OSError as error:
            told = f"{BROWSER_PORT}: {(error.strerror or 'cannot be bound').lower()}; the next free one is taken"
            return [Finding("Browser port", Verdict.WARN, told, "--sink browser:PORT chooses another")]
    return [Finding("Browser port", Verdict.OK, f"{BROWSER_PORT} is free")]


def _imported(name: str) -> tuple[ModuleType | None, Exception | None]:
    try:
        return importlib.import_module(name), None
    except (ImportError, OSError, RuntimeError) as error:  # a missing library shows as any of these
        return None, error


def _version(module: ModuleType) -> str:
    return str(getattr(module, "__version__", "of unknown version"))


CHECKS: tuple[Callable[[], list[Finding]], ...] = (
    _python,
    _cpu,
    _nvidia,
    _page_lock,
    _build,
    _backends,
    _auto,
    _placement,
    _crf,
    _opencv,
    _ffmpeg,
    _gpu_video,
    _display,
    _cameras,
    _memory,
    _open_files,
    _engines,
    _port,
)
"""In the order in which they are told."""
