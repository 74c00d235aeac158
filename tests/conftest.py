"""What every test gets: a private world, the shared data when it is there, and a check that nothing is left behind.

The trap: the session's temporary folder, cache folder and data folder are its own, so two runs on one
machine never see each other's sockets, and no test reads an engine or a cache from the user's home.
"""

import contextlib
import gc
import importlib.util
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

EXTRAS = {
    "torch": "train",
    "onnxscript": "train",
    "pydensecrf": "crf",
    "numba": "crf",
    "triton": "gpu",
    "tensorrt_rtx": "tensorrt-rtx",
}
"""Modules that an extra brings, and which: a test module that needs one is skipped without it, and says so."""

REQUIRED = frozenset(filter(None, os.environ.get("SEGSTREAM_REQUIRE", "").replace(" ", "").split(",")))
"""Markers whose tests may not skip: CI sets `browser,rtsp,tensorrt_rtx`."""

SETTLING_S = 3.0
"""How long processes that were told to end may take to be gone from the process table."""

_world = pytest.StashKey[Path]()


# --- the session's own world -----------------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """Give the session its own temporary, cache and data folders, and no display; each process of several too."""
    # pytest's own tmp_path folders stay where they always are: they are kept for a look after a failure.
    outside = os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    home = Path(tempfile.mkdtemp(prefix="segtest-", dir=outside))
    config.stash[_world] = home
    # Compiled kernels alone are shared between the processes of one run: each takes seconds.
    os.environ.setdefault("NUMBA_CACHE_DIR", str(home / "numba"))
    for name, folder in (("TMPDIR", "t"), ("XDG_CACHE_HOME", "cache"), ("XDG_DATA_HOME", "data")):
        (home / folder).mkdir()
        os.environ[name] = str(home / folder)
    tempfile.tempdir = os.environ["TMPDIR"]
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SEGSTREAM_ENGINES"):
        os.environ.pop(name, None)
    # Started in the background, a shell has Ctrl-C ignored, and whom the tests start would ignore it too.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # GPU kernels run on the CPU, before anything imports triton; TRITON_INTERPRET=0 runs them on a GPU.
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what `pytest_configure` made."""
    tempfile.tempdir = None
    shutil.rmtree(config.stash[_world], ignore_errors=True)


def pytest_report_header() -> list[str]:
    """Say what this run can and must do."""
    absent = [name for name in EXTRAS if importlib.util.find_spec(name) is None]
    lines = [f"segstream: data {_data_folder() if _data_folder().is_dir() else 'not there'}"]
    if absent:
        lines.append(f"segstream: not installed: {', '.join(absent)}")
    if REQUIRED:
        lines.append(f"segstream: may not skip: {', '.join(sorted(REQUIRED))}")
    return lines


# --- markers and skips -----------------------------------------------------------------------------------------------


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what can be told from the test itself: the module imports torch, is named for the browser, uses the data."""
    for item in items:
        if hasattr(getattr(item, "module", None), "torch"):
            item.add_marker("torch")
        if "shared_data" in getattr(item, "fixturenames", ()):
            item.add_marker("needs_data")
        for name in _named(item.path):
            item.add_marker(name)
        if ROOT / "tests" / "stream" in item.path.parents:
            item.add_marker("stream")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skip of what SEGSTREAM_REQUIRE names is a failure."""
    report = yield
    needed = REQUIRED.intersection(marker.name for marker in item.iter_markers())
    if report.skipped and needed and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason}\nbut SEGSTREAM_REQUIRE={','.join(sorted(needed))} allows no skip here"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A test module that needs an extra which is not installed is skipped by name; a required one fails."""
    report = yield
    missing = _missing_extra(report)
    if report.failed and missing and missing not in REQUIRED:
        reason = f"Skipped: needs {missing} (pip install 'segstream[{EXTRAS[missing]}]')"
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), 0, reason)
    elif report.skipped and isinstance(collector, pytest.Module):
        needed = REQUIRED.intersection(_named(collector.path))
        if needed:
            report.outcome = "failed"
            report.longrepr = f"{report.longrepr}\nbut SEGSTREAM_REQUIRE={','.join(sorted(needed))} allows no skip here"
    return report


def _named(path: Path) -> list[str]:
    return [name for name in ("browser", "rtsp") if name in path.stem]


def _missing_extra(report: pytest.CollectReport) -> str | None:
    call = getattr(report, "call", None)
    error: BaseException | None = call.excinfo.value if call and call.excinfo else None
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name and error.name.split(".")[0] in EXTRAS:
            return error.name.split(".")[0]
        error = error.__cause__ or error.__context__
    return None


# --- fixtures --------------------------------------------------------------------------------------------------------


def _data_folder() -> Path:
    return Path(os.environ.get("SEGSTREAM_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images, clips and weights; skips where it is not."""
    folder = _data_folder()
    if not folder.is_dir():
        pytest.skip("needs the shared data: ../shared/data beside the checkout, or its folder in SEGSTREAM_DATA")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium to drive; skips where there is none."""
    named = os.environ.get("SEGSTREAM_CHROMIUM")
    found = named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None or not Path(found).exists():
        pytest.skip(f"needs a Chromium: {named or 'none'} found; apt-get install chromium, or set SEGSTREAM_CHROMIUM")
    return found


@pytest.fixture(autouse=True)
def _leaves_nothing_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a whole-stream test: no child process, no socket folder, no memfd more than before."""
    if request.node.get_closest_marker("stream") is None:
        yield
        return
    before = _belongings()
    yield
    deadline = time.monotonic() + SETTLING_S
    while (left := _belongings() - before) and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.05)
    assert not left, f"the test left behind: {', '.join(sorted(left))}"


def _belongings() -> set[str]:
    """Child processes, folders and memory files of this process, in words that stay the same between two calls."""
    folders = {f"folder {path.name}" for path in Path(tempfile.gettempdir()).glob("segstream-*")}
    return folders | set(_children()) | set(_memory_files())


def _children() -> Iterator[str]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended while we looked
            # The command's name stands in parentheses and may hold anything; the parent is the second field after it.
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            command = (stat.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            # The standard library's resource tracker lives as long as this process does.
            if int(parent) == os.getpid() and state != "Z" and "resource_tracker" not in command:
                yield f"process {stat.parent.name} ({command.strip()[:60]})"


def _memory_files() -> Iterator[str]:
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(descriptor.readlink())
            if "memfd:" in target:
                yield f"descriptor {descriptor.name} ({target})"
