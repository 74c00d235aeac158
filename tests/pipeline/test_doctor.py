"""What `doctor` says of a machine, and the remedies for what is usually wrong."""

import importlib
import os
import resource
import socket
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from engines.errors import EngineError, EngineMismatch
from engines.plans import missing
from engines.plans.missing import MissingPlan
from engines.runtime import page_lock
from pipeline import doctor
from pipeline.doctor import Finding, Verdict, diagnose, told
from pipeline.listing import Camera
from tests.engines.runtime.notebook import NotedDevice


def _only(topic: str) -> Finding:
    found = [finding for finding in diagnose() if finding.topic == topic]
    assert len(found) == 1, found
    return found[0]


def _refuse(monkeypatch: pytest.MonkeyPatch, refused: str, error: Exception) -> None:
    real = importlib.import_module

    def load(name: str, package: str | None = None) -> ModuleType:
        if name == refused:
            raise error
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", load)


def test_every_topic_has_a_verdict() -> None:
    """Everything a stream may need is looked at, and nothing that is bad stands without a remedy."""
    findings = diagnose()

    topics = {finding.topic for finding in findings}
    assert {"Python", "CPU", "NVIDIA GPU", "TensorRT", "OpenVINO", "ONNX Runtime", "FFmpeg", "OpenCV"} <= topics
    assert {"Display", "Cameras", "Memory", "Shared memory", "Open files", "Engines", "Browser port"} <= topics
    assert all(finding.told for finding in findings)
    assert all(finding.remedy for finding in findings if finding.verdict is Verdict.FAIL)


def test_findings_are_told_with_their_remedies() -> None:
    """A line a finding; what would mend it stands below."""
    text = told([Finding("Disk", Verdict.OK, "big"), Finding("Cameras", Verdict.FAIL, "denied", "ask nicely")])

    assert text.splitlines() == ["ok    Disk     big", "fail  Cameras  denied", "               -> ask nicely"]


def test_slots_that_cannot_be_page_locked_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a driver a page is tried; what CUDA says is told, and that only speed is lost."""

    class Refusing(NotedDevice):
        def lock(self, address: int, n_bytes: int) -> None:
            raise EngineError("cudaHostRegister: CUDA error 304")

    monkeypatch.setattr(doctor, "nvidia_reason", lambda: None)
    monkeypatch.setattr(page_lock, "nvidia_reason", lambda: None)
    monkeypatch.setattr(page_lock, "open_device", Refusing)

    found = doctor._page_lock()

    assert [finding.verdict for finding in found] == [Verdict.WARN]
    assert "CUDA error 304); copies to the GPU take longer" in found[0].told


def test_opencv_without_libgl_is_mended_by_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system packages that OpenCV lacks are named in the command that installs them."""
    error = ImportError("libGL.so.1: cannot open shared object file: No such file or directory")
    _refuse(monkeypatch, "cv2", error)

    finding = _only("OpenCV")

    assert finding.verdict is Verdict.FAIL
    assert "libGL.so.1" in finding.told
    assert finding.remedy == "sudo apt-get install -y libgl1 libglib2.0-0"


def test_opencv_that_is_not_installed_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing package wants pip, not apt."""
    _refuse(monkeypatch, "cv2", ModuleNotFoundError("No module named 'cv2'"))

    assert _only("OpenCV").remedy == "pip install opencv-python"


def test_a_camera_without_permission_is_mended_by_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Permission, busy and working cameras are told apart."""
    cameras = [
        Camera(Path("/dev/video0"), "", "permission denied"),
        Camera(Path("/dev/video2"), "", "device or resource busy"),
        Camera(Path("/dev/video4"), "Some Camera"),
    ]
    monkeypatch.setattr(doctor, "cameras_found", lambda: cameras)

    denied, busy, good = (finding for finding in diagnose() if finding.topic == "Cameras")

    assert (denied.verdict, "usermod -aG video" in denied.remedy) == (Verdict.FAIL, True)
    assert (busy.verdict, "fuser" in busy.remedy) == (Verdict.WARN, True)
    assert good == Finding("Cameras", Verdict.OK, "/dev/video4: Some Camera")


def test_what_build_would_do_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing and why, or which plan and the command that builds it beforehand."""
    plan = MissingPlan("person 512x288 fp32", "tensorrt", "person@512x288:fp32", "auto", "no plan")
    monkeypatch.setattr(missing, "missing_plan", lambda spec: (None, "no NVIDIA driver"))
    nothing = _only("--build")
    monkeypatch.setattr(missing, "missing_plan", lambda spec: (plan, ""))
    something = _only("--build")

    assert nothing == Finding("--build", Verdict.OK, "nothing to build: no NVIDIA driver")
    assert "person 512x288 fp32 for TensorRT beside the stream" in something.told
    assert something.remedy == "python -m engines build person@512x288:fp32 --backend tensorrt"


def test_no_camera_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and networks stream without one."""
    monkeypatch.setattr(doctor, "cameras_found", list)

    assert _only("Cameras").verdict is Verdict.WARN


def test_without_any_backend_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """One missing backend is a warning, both missing a failure."""
    monkeypatch.setattr(doctor, "backend_reason", lambda name: "not here" if name == "openvino" else None)
    assert _only("OpenVINO").verdict is Verdict.WARN
    assert not [finding for finding in diagnose() if finding.topic == "Backend"]

    monkeypatch.setattr(doctor, "backend_reason", lambda name: "not here")
    assert _only("Backend").verdict is Verdict.FAIL


def test_the_order_of_backends_is_told_with_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that work, best first; the others together where they lack the same, each by its own remedy where not."""
    reasons = {"tensorrt": "no plan; build one", "torch_cuda": None, "onnxruntime_cuda": "no CUDA", "openvino": None}
    monkeypatch.setattr(doctor, "automatic_backends", lambda spec: reasons)

    finding = _only("--backend auto")

    assert finding.told == "torch_cuda > openvino; not tensorrt: no plan; build one; not onnxruntime_cuda: no CUDA"


def test_an_ffmpeg_without_h264_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without libx264 no file can be written, and that is said before a run finds out."""

    class Bare(ModuleType):
        __version__ = "18.0.0"

        def Codec(self, name: str, mode: str) -> Any:
            raise ValueError(name)

    real = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", lambda name, *a: Bare("av") if name == "av" else real(name, *a))

    finding = _only("FFmpeg")

    assert finding.verdict is Verdict.FAIL
    assert "without libx264" in finding.told


def test_a_broken_tensorrt_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not needed: what its loader says is shown as a warning."""
    _refuse(monkeypatch, "tensorrt", OSError("libnvinfer.so.10: cannot open shared object file"))

    finding = _only("TensorRT")

    assert finding.verdict is Verdict.WARN
    assert "libnvinfer" in finding.told


def test_a_taken_port_is_told() -> None:
    """The browser sink will take the next one; the finding says so."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind(("127.0.0.1", doctor.BROWSER_PORT))
            holder.listen()
        except OSError:
            pass  # somebody else holds it: just as good

        finding = _only("Browser port")

    assert finding.verdict is Verdict.WARN
    assert "next free" in finding.told


def test_too_few_open_files_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets and memory of several workers need descriptors."""
    real = resource.getrlimit
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (64, 64) if kind == resource.RLIMIT_NOFILE else real(kind))

    assert "ulimit" in _only("Open files").remedy


def test_a_container_with_little_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The container's limit counts, not what the machine has."""
    real = doctor.machine_facts()
    monkeypatch.setattr(doctor, "machine_facts", lambda: {**real, "memory_limit_bytes": 256 << 20})

    finding = _only("Memory")

    assert finding.verdict is Verdict.FAIL
    assert "0.2 GiB of container" in finding.told


def test_a_machine_without_memfd_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Named shared memory is used there."""
    monkeypatch.delattr(os, "memfd_create")

    assert _only("Shared memory").verdict is Verdict.WARN


def test_a_slow_processor_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """One core, or no AVX2, is enough to run and too little to enjoy."""
    real = doctor.machine_facts()
    monkeypatch.setattr(doctor, "usable_cores", lambda: 1)
    assert _only("CPU").verdict is Verdict.WARN

    monkeypatch.setattr(doctor, "usable_cores", lambda: 8)
    monkeypatch.setattr(doctor.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(doctor, "machine_facts", lambda: {**real, "cpu_features": []})
    assert "AVX2" in _only("CPU").remedy


def test_an_engine_whose_file_differs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every graph of every engine is checked against its manifest."""

    def broken(text: str) -> None:
        raise EngineMismatch(f"{text} is not the file its manifest describes")

    monkeypatch.setattr(doctor, "resolve", broken)
    known = [finding for finding in diagnose() if finding.topic == "Engines"]

    assert all(finding.verdict is Verdict.FAIL for finding in known)


def test_no_engine_at_all_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an engine nothing can be segmented."""
    monkeypatch.setattr(doctor, "known_engines", list)

    assert _only("Engines").verdict is Verdict.FAIL


def test_a_display_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where windows can be opened, it says on which display."""
    monkeypatch.setenv("DISPLAY", ":7")

    assert _only("Display").told == "DISPLAY=:7"


def test_what_crf_auto_would_do_is_told_of_every_engine() -> None:
    """With the reason, so that nobody wonders why nothing happens."""
    told = {finding.told for finding in diagnose() if finding.topic == "--crf auto"}

    assert any(line.startswith("person: ") for line in told)
