"""Figures on disk, one JSON line each: a benchmark of an hour that is stopped goes on where it was.

The trap: figures of another machine must not stand in one table with these; a record carries its machine, and
`Records.of_machine` gives those of one machine alone.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from engines.errors import EngineError

__all__ = ["Record", "Records"]


@dataclass(frozen=True)
class Record:
    """One network at one size on one backend."""

    network: str
    """As `engines.bench.speed.networks` names it; `crf` for the dense CRF alone."""
    width: int
    height: int
    backend: str
    """`openvino`, `onnxruntime`, `torch`; `pydensecrf` for the CRF."""
    detail: str
    """What ran, for people: version, precision, threads."""
    machine: str
    ms_p50: float
    ms_lowest: float
    ms_p95: float
    n_runs: int
    gmac: float | None
    """Multiply-adds of one picture, in units of 1e9."""
    parameters: int | None
    load_average: float
    """Of the machine over the minute before, this measurement left out."""

    @property
    def key(self) -> tuple[str, int, int, str]:
        """What makes it one cell of the table."""
        return self.network, self.width, self.height, self.backend


class Records:
    """The file and what is in it; a later line about the same cell replaces an earlier one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._by_cell: dict[tuple[str, tuple[str, int, int, str]], Record] = {}
        if path.is_file():
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                self._remember(_read(line, f"{path}:{number}"))

    def add(self, records: Iterable[Record]) -> None:
        """Remember them and write them at once."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            for record in records:
                self._remember(record)
                file.write(json.dumps(asdict(record)) + "\n")

    def of_machine(self, machine: str) -> dict[tuple[str, int, int, str], Record]:
        """Cell to record, of one machine."""
        return {key: record for (where, key), record in self._by_cell.items() if where == machine}

    @property
    def machines(self) -> list[str]:
        """In the order of their first figure."""
        return list(dict.fromkeys(machine for machine, _ in self._by_cell))

    def _remember(self, record: Record) -> None:
        self._by_cell[record.machine, record.key] = record


def _read(line: str, place: str) -> Record:
    try:
        return Record(**json.loads(line))
    except (json.JSONDecodeError, TypeError) as error:
        raise EngineError(f"{place}: not a figure of `bench speed` ({error}); remove the line") from error
