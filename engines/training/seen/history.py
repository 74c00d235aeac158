"""What a training went through, as lines of JSON in `OUT/history.jsonl`: the memory that reports draw from.

One line is the mean over a few steps, or one evaluation. The trap: a run that was killed has written lines
for steps that `--resume` trains again, so `cut` drops every line beyond the step it goes on from.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from engines.errors import DataError

__all__ = ["FILE_NAME", "History", "Scored", "Trained"]

FILE_NAME = "history.jsonl"


@dataclass(frozen=True)
class Trained:
    """Some steps, the last of them `step`."""

    step: int
    loss: float
    """Mean over the steps since the line before."""
    terms: dict[str, float] = field(default_factory=dict)
    """What the loss is the sum of, by name."""
    lr: dict[str, float] = field(default_factory=dict)
    """Learning rate of each group of parameters at `step`."""
    images_per_s: float = math.nan


@dataclass(frozen=True)
class Scored:
    """One evaluation of the averaged weights after `step` steps."""

    step: int
    miou: float
    iou: dict[str, float] = field(default_factory=dict)


class History:
    """The lines of one run, in memory and in its file.

    Raises:
        DataError: the file is there and a line in its middle is not ours.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trained: list[Trained] = []
        self.scored: list[Scored] = []
        self._waiting = b""
        """Lines that a full disk did not take."""
        for row in _rows(path):
            self._keep(row)

    def cut(self, step: int) -> None:
        """Forget what came after `step`, in the file too; 0 begins anew."""
        self.trained = [row for row in self.trained if row.step <= step]
        self.scored = [row for row in self.scored if row.step <= step]
        rows: list[Trained | Scored] = [*self.trained, *self.scored]
        lines = [_line(row) for row in sorted(rows, key=lambda row: row.step)]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(self.path.name + ".partial")
        partial.write_text("".join(lines), encoding="utf-8")
        partial.replace(self.path)

    def add(self, row: Trained | Scored) -> None:
        """Remember a row, on the disk before this returns.

        Raises:
            OSError: it could not be written. The file ends with a whole line, and the next row takes this one along.
        """
        self._keep(row)
        self._waiting += _line(row).encode()
        with self.path.open("ab", buffering=0) as file:
            whole = file.tell()
            try:
                left = self._waiting
                while left:
                    left = left[file.write(left) :]
            except OSError:
                file.truncate(whole)
                raise
        self._waiting = b""

    @property
    def best(self) -> Scored | None:
        """The evaluation that `best.pt` holds: of equal ones the last; None without any."""
        known = [row for row in self.scored if not math.isnan(row.miou)]
        return max(known, key=lambda row: (row.miou, row.step), default=None)

    def _keep(self, row: Trained | Scored) -> None:
        if isinstance(row, Trained):
            self.trained.append(row)
        else:
            self.scored.append(row)


def _line(row: Trained | Scored) -> str:
    kind = "trained" if isinstance(row, Trained) else "scored"
    return json.dumps({"kind": kind, **_json_ready(asdict(row))}) + "\n"


def _json_ready(values: Mapping[str, object]) -> dict[str, object]:
    """JSON has no nan; null stands for it."""
    ready: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            ready[key] = _json_ready(value)
        else:
            ready[key] = None if isinstance(value, float) and not math.isfinite(value) else value
    return ready


def _rows(path: Path) -> Iterator[Trained | Scored]:
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            stored = json.loads(line)
            kind = stored.pop("kind")
            yield {"trained": Trained, "scored": Scored}[kind](**_with_nan(stored))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if number == len(lines):
                return  # a kill while it was written leaves half a line; its steps are trained again
            raise DataError(f"{path}:{number}: not a line of a training's history; move the file away") from error


def _with_nan(stored: dict[str, object]) -> dict[str, object]:
    return {
        key: _with_nan(value) if isinstance(value, dict) else math.nan if value is None else value
        for key, value in stored.items()
    }
