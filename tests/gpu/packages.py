"""Wheels that a GPU machine lacks, made importable without installing anything."""

import atexit
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

__all__ = ["add_packages"]


def add_packages(folder: Path) -> list[str]:
    """Unpack the wheels of a folder behind what is installed already, which wins.

    Returns:
        The names of the wheels; empty for a folder that holds packages unpacked, which is taken as it is.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"--packages {folder}: no such folder; give one that holds wheels")
    wheels = sorted(folder.glob("*.whl"))
    place = folder
    if wheels:
        place = Path(tempfile.mkdtemp(prefix="gpu-report-packages-"))
        atexit.register(shutil.rmtree, place, ignore_errors=True)
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(place)
    sys.path.append(str(place.resolve()))
    return [wheel.name for wheel in wheels]
