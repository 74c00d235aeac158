"""Where a checkpoint comes from: the code's revision and a fingerprint of the data.

The fingerprint is a hash over names and sizes, not over contents: it takes a moment for 20 000 files and notices
a missing, added or re-encoded one.
"""

import hashlib
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from engines.data.datasets import DatasetOptions

__all__ = ["changed_keys", "fingerprint", "revision"]

SHORT = 16


@cache
def revision() -> str:
    """Git revision of this checkout, with `+` when it has changes; empty without git."""
    here = Path(__file__).parent
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],
            cwd=here, capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return told.stdout.strip()


def changed_keys(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Dotted keys whose values differ, as `key: before -> now`; keys that only one has are another version's."""
    return list(_changes(before, now, ""))


def _changes(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key in sorted(before.keys() & now.keys()):
        old, new = before[key], now[key]
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _changes(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key}" if isinstance(old, list | Mapping) else f"{prefix}{key}: {old} -> {new}"


def fingerprint(sources: Iterable[DatasetOptions]) -> str:
    """16 hexadecimal digits over what each source draws from."""
    digest = hashlib.sha256()
    for source in sources:
        described = source.model_dump(mode="json", exclude={"path", "share"})
        digest.update(repr(sorted(described.items())).encode())
        for name, size in _files(source.path, source.prefix):
            digest.update(f"{name}\0{size}\n".encode())
    return digest.hexdigest()[:SHORT]


def _files(path: Path, prefix: str) -> list[tuple[str, int]]:
    if path == Path() or not path.exists():  # generated pictures have no path
        return []
    if path.is_file():
        return [(path.name, path.stat().st_size)]
    found = (file for file in path.rglob("*") if file.name.startswith(prefix) and file.is_file())
    return sorted((file.relative_to(path).as_posix(), file.stat().st_size) for file in found)
