"""What is installed: four names, their data, and nothing else.

The wheel is built from a copy of the checkout, so that building leaves nothing behind in it, and
without an index: the build needs setuptools in the test environment (extra `test`).
"""

import importlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("configs", "engines", "pipeline")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.egg-info")


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The paths inside a freshly built wheel."""
    pytest.importorskip("setuptools", reason="needs setuptools (extra `test`) to build the wheel")
    source = tmp_path_factory.mktemp("source")
    for name in (*PACKAGES, "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=LEFT_OUT)
    for name in ("run_stream.py", "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source / name)

    build = "import setuptools.build_meta as backend; backend.build_wheel('dist')"
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = (source / "dist").glob("segstream-*.whl")
    return zipfile.ZipFile(wheel).namelist()


@pytest.mark.parametrize("name", [*PACKAGES, "run_stream"])
def test_packages_resolve_inside_this_checkout(name: str) -> None:
    """An older installation of segstream elsewhere on the path is never what is tested."""
    module = importlib.import_module(name)

    assert module.__file__ is not None
    assert Path(module.__file__).resolve().is_relative_to(ROOT)


def test_the_wheel_installs_exactly_four_names(wheel_names: list[str]) -> None:
    """Tests, data and build leftovers never reach a user's site-packages."""
    top_level = {name.split("/")[0] for name in wheel_names}

    assert {name for name in top_level if not name.endswith(".dist-info")} == {*PACKAGES, "run_stream.py"}


def _shipped_data() -> list[str]:
    """Every file beside the code that the code reads when it runs, or that a licence asks to travel along."""
    found = [
        *ROOT.glob("configs/**/*.yaml"),
        *ROOT.glob("engines/zoo/**/*.*"),
        *ROOT.glob("pipeline/**/*.html"),
        *ROOT.glob("pipeline/**/*.jpg"),
        *ROOT.glob("pipeline/**/*.png"),
        *ROOT.glob("*/py.typed"),
    ]
    return sorted(str(path.relative_to(ROOT)) for path in found if "__pycache__" not in path.parts)


def test_the_wheel_carries_its_data(wheel_names: list[str]) -> None:
    """Configs, the shipped engine, the browser page and the demo's picture are there after installation."""
    missing = [name for name in _shipped_data() if name not in wheel_names]

    assert not missing, f"in the checkout and not in the wheel: {missing}; see tool.setuptools.package-data"


def test_the_wheel_carries_every_module(wheel_names: list[str]) -> None:
    """A folder without `__init__.py` would be left out in silence."""
    modules = [str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*.py")]

    assert not [name for name in modules if name not in wheel_names]


def test_the_licence_and_its_notices_travel_along(wheel_names: list[str]) -> None:
    """Apache-2.0 asks that LICENSE and NOTICE go with every copy."""
    names = {name.rsplit("/", 1)[-1] for name in wheel_names if ".dist-info/" in name}

    assert {"LICENSE", "NOTICE"} <= names


def test_the_command_line_starts_without_heavy_libraries() -> None:
    """`segstream --help` answers at once: torch, the runtimes and the web server are loaded where they are used."""
    heavy = ("torch", "onnx", "onnxruntime", "openvino", "tensorrt", "aiohttp", "pydensecrf")
    code = f"import run_stream, sys; print([name for name in {heavy} if name in sys.modules])"

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, env=dict(os.environ)
    )

    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "[]"


def test_every_module_of_the_stream_loads_without_torch() -> None:
    """A streaming install has no torch: no module of `pipeline` or of the engine runtimes may need it to load."""
    code = (
        "import importlib, pkgutil, sys\n"
        "sys.modules['torch'] = None\n"  # importing it now raises ImportError
        "import pipeline, engines.runtime, engines.crf\n"
        "for package in (pipeline, engines.runtime, engines.crf):\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        if not module.name.endswith('__main__'):\n"
        "            importlib.import_module(module.name)\n"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr[-2000:]
