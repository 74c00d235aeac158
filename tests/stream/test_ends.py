"""Runs end cleanly from every state, as a person or a service ends them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest

ROOT = Path(__file__).resolve().parents[2]
FAKE = ["--engine", "fake@320x180", "--effect", "none"]


def start(*arguments: str, cwd: Path) -> "subprocess.Popen[bytes]":
    """Start the command line as a person would."""
    command = [sys.executable, str(ROOT / "run_stream.py"), *arguments]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def wait_for(condition, timeout_s: float = 20.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_a_playable_file(tmp_path, number) -> None:
    """Ended in mid-run the file is closed, the exit code says interrupted, and it takes less than two seconds."""
    out = tmp_path / "out.mp4"
    process = start("run", "synthetic:320x180@30", *FAKE, "--sink", f"file:{out}", "--pacing", "live", cwd=tmp_path)
    wait_for(lambda: out.exists() and out.stat().st_size > 2000)

    began = time.monotonic()
    process.send_signal(number)
    told, _ = process.communicate(timeout=10)

    assert process.returncode == 130, told.decode()
    assert time.monotonic() - began < 2.0
    with av.open(str(out)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 10


@pytest.mark.parametrize("delay_s", [0.0, 0.15, 0.4, 0.7])
def test_an_interrupt_while_starting_leaves_nothing(tmp_path, delay_s) -> None:
    """Whatever the workers were doing, they are gone within two seconds."""
    process = start("run", "synthetic:320x180@30", *FAKE, "--sink", "null", cwd=tmp_path)
    wait_for(lambda: any(Path(f"/proc/{process.pid}/task").glob("*/children")))
    wait_for(lambda: _children(process.pid) != [] or process.poll() is not None)
    time.sleep(delay_s)

    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    told, _ = process.communicate(timeout=10)

    assert process.returncode == 130, told.decode()
    assert time.monotonic() - began < 2.0


@pytest.mark.parametrize("gap_s", [0.0, 0.05, 0.15])
def test_a_second_interrupt_ends_at_once(tmp_path, gap_s) -> None:
    """Ctrl-C twice: nothing is waited for, and nothing is left behind."""
    process = start("run", "synthetic:320x180@30", *FAKE, "--sink", "null", "--pacing", "live", cwd=tmp_path)
    time.sleep(2.5)

    process.send_signal(signal.SIGINT)
    time.sleep(gap_s)
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=10)

    assert process.returncode == 130, told.decode()
    assert not list(Path(os.environ["TMPDIR"]).glob("segstream-*"))


def test_an_interrupt_while_draining_is_quick(tmp_path) -> None:
    """A corridor that takes ten seconds a frame is not waited for."""
    engine = "fake@320x180?work_ms=10000"
    process = start("run", "synthetic:320x180@30", "--engine", engine, "--sink", "null", cwd=tmp_path)
    time.sleep(3.0)

    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)

    assert process.returncode == 130
    assert time.monotonic() - began < 2.5


def test_workers_end_with_a_killed_supervisor(tmp_path) -> None:
    """SIGKILL to the parent: no worker stays, no socket folder stays."""
    process = start("run", "synthetic:320x180@30", *FAKE, "--sink", "null", cwd=tmp_path)
    wait_for(lambda: len(_children(process.pid)) >= 4)
    time.sleep(1.0)
    workers = _children(process.pid)

    process.kill()
    process.communicate(timeout=10)

    wait_for(lambda: not any(_is_there(pid) for pid in workers), timeout_s=5.0)
    folder = Path(os.environ["TMPDIR"])
    wait_for(lambda: not list(folder.glob("segstream-*")), timeout_s=5.0)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["run", "no-such.mp4", "--sink", "null"], 1, "no-such.mp4"),
        (["run", "demo", "--engine", "persn", "--sink", "null"], 2, "person"),
        (["run", "demo", "--effect", "blurr"], 2, "blur"),
        (["run", "demo", "--sink", "fil:x"], 2, "file"),
        (["run", "demo", "--set", "enginee=x"], 2, "did you mean 'engine'"),
        (["run", "/dev/video97", *FAKE, "--sink", "null"], 1, "video97"),
        (["run", "rtsp://127.0.0.1:1/x", *FAKE, "--sink", "null"], 1, "refused"),
        (["run", "synthetic", *FAKE, "--sink", "file:/no/such/folder/a.mp4"], 1, "/no/such/folder"),
        (["run", "synthetic", *FAKE, "--sink", "window"], 1, "display"),
        (["run"], 2, "no source"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, arguments, code, told) -> None:
    """What was received, what would be right; the exit code tells wrong use from a failed run."""
    process = start(*arguments, cwd=tmp_path)
    output, _ = process.communicate(timeout=30)

    lines = output.decode().strip().splitlines()
    assert process.returncode == code, output.decode()
    assert told in lines[-1]
    assert lines[-1].startswith("segstream: ")
    assert "Traceback" not in output.decode()


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
