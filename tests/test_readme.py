"""What the README promises can be done as it is written."""

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs_as_it_is_printed(tmp_path) -> None:
    """The ten lines, on a photograph: a picture with an alpha channel comes out."""
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert example is not None
    portrait = cv2.imread(str(ROOT / "pipeline" / "sources" / "astronaut.jpg"))
    cv2.imwrite(str(tmp_path / "photo.jpg"), portrait)

    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", example.group(1)], cwd=tmp_path, env=environment, capture_output=True, check=False
    )

    assert done.returncode == 0, done.stderr.decode()
    share = int(re.search(rb"(\d+)% of the picture", done.stdout).group(1))
    assert 20 < share < 80
    assert cv2.imread(str(tmp_path / "cut.png"), cv2.IMREAD_UNCHANGED).shape == (*portrait.shape[:2], 4)


@pytest.mark.parametrize("path", list(re.findall(r"\]\(([^)#:]+)\)", README)))
def test_links_lead_somewhere(path) -> None:
    """Every file that the README points at is there."""
    assert (ROOT / path).exists()


@pytest.mark.parametrize("command", sorted(set(re.findall(r"run_stream\.py (\w+(?: (?:stream|transport))?)", README))))
def test_commands_exist(command) -> None:
    """Every sub-command that the README names has a help page."""
    known = {"run", "list", "doctor", "bench", "stream", "transport", "parity"}
    words = [word for word in command.split() if word in known]
    done = subprocess.run(
        [sys.executable, str(ROOT / "run_stream.py"), *words, "--help"], cwd=ROOT, capture_output=True, check=False
    )

    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_ready_configs_are_valid(path) -> None:
    """Each file in configs/ is a run that only misses its camera or its clip."""
    from configs import load
    from pipeline.config import RunConfig
    from pipeline.run import prepare

    assert prepare(load(RunConfig, path)).sinks
