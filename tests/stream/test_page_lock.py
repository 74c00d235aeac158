"""Whole streams whose slots are page-locked by the worker that has the GPU."""

from pathlib import Path

import pytest

from tests.engines.runtime.graphs import write_engine
from tests.stream.locking import NOTES_VARIABLE
from tests.stream.playing import play


def test_slots_are_locked_by_every_process_that_serves_and_given_up_before_they_are_unmapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first process loses its GPU, and touches it no more; the second locks anew and ends in order."""
    notes = tmp_path / "notes.txt"
    monkeypatch.setenv(NOTES_VARIABLE, str(notes))
    engine = write_engine(tmp_path / "tiny", sizes=((64, 32),))
    stages = ("capture", "preprocess", "tests.stream.locking:LockingSegment", "render")

    played = play("synthetic:320x180@60?frames=40", engine=str(engine), stages=stages, pacing="lossless", threads=1)

    lines = [line.split() for line in notes.read_text(encoding="ascii").splitlines()]
    first, second = dict.fromkeys(pid for pid, _, _ in lines)
    assert "slots not page-locked" not in played.events
    assert [what for pid, what, _ in lines if pid == first] == ["lock", "unmap"]
    whats, addresses = zip(*[(what, address) for pid, what, address in lines if pid == second], strict=True)
    assert (whats, len(set(addresses))) == (("lock", "unlock", "unmap"), 1)
