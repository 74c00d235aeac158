"""Accidents: what a killed process and a full disk leave behind is a file that strict readers take."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import SinkError
from pipeline.sinks import sink_from_text
from pipeline.sinks.disk import OutputFile
from tests.conftest import ROOT
from tests.pipeline.sinks import feed
from tests.pipeline.sinks.limit import files_of_at_most

SUFFIXES = (".mp4", ".mov", ".mkv")
N_AT_MOST_LOST = 25
"""Frames that may be missing after SIGKILL: a fragment of a quarter of a second, and what the encoder looks ahead."""

WRITE_AND_DIE = """
import os, signal, sys
from pipeline.sinks import sink_from_text
from tests.pipeline.sinks import feed

sink = sink_from_text(sys.argv[1]).open(feed.stream_format(), pacing="lossless", announce=print)
for number in range(1, 101):
    sink.accept(feed.shown(number))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_killed_run_leaves_a_playable_file(tmp_path: Path, suffix: str) -> None:
    """SIGKILL in mid-run: the file is readable without an error, all but about the last second."""
    path = tmp_path / f"out{suffix}"

    child = subprocess.run([sys.executable, "-c", WRITE_AND_DIE, f"file:{path}"], cwd=ROOT, check=False)

    assert child.returncode == -signal.SIGKILL
    numbers = feed.numbers_in(path)
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 100 - N_AT_MOST_LOST


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_keeps_what_was_shown(tmp_path: Path, suffix: str) -> None:
    """The sink fails once, with a remedy; closing it then is quiet, and the file is readable without an error."""
    path = tmp_path / f"out{suffix}"
    sink = sink_from_text(f"file:{path}").open(feed.stream_format(), pacing="lossless", announce=feed.ignore)
    n_accepted = 0

    def accept_all() -> None:
        nonlocal n_accepted
        for number in range(1, 400):
            sink.accept(feed.shown(number))
            n_accepted = number

    with files_of_at_most(600_000):
        with pytest.raises(SinkError, match=r"File too large; the file is playable, .* Make room"):
            accept_all()
        sink.close()

    numbers = feed.numbers_in(path)
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= n_accepted - N_AT_MOST_LOST
    assert path.stat().st_size <= 600_000


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_disk_that_fills_up_at_the_very_end_keeps_what_was_shown(tmp_path: Path, suffix: str) -> None:
    """Room for every fragment but not for the index that `close` writes: `close` says so, and the file is playable."""
    path = tmp_path / f"out{suffix}"
    sink = sink_from_text(f"file:{path}").open(feed.stream_format(), pacing="lossless", announce=feed.ignore)
    for number in range(1, 101):
        sink.accept(feed.shown(number))

    with files_of_at_most(path.stat().st_size), pytest.raises(SinkError, match="File too large"):
        sink.close()
    sink.close()

    numbers = feed.numbers_in(path)
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 100 - N_AT_MOST_LOST


def test_pieces_are_on_the_disk_together_or_not_at_all(tmp_path: Path) -> None:
    """A commit that does not fit is taken back, and later ones are ignored."""
    path = tmp_path / "out"
    file = OutputFile(path)
    file.write(b"first")

    assert path.read_bytes() == b""
    file.commit()
    file.write(b" second")
    file.write(b" third")
    with files_of_at_most(14), pytest.raises(OSError, match="too large"):
        file.commit()
    file.write(b" fourth")
    file.commit()
    file.close()

    assert path.read_bytes() == b"first"


def test_a_piece_can_go_where_something_was(tmp_path: Path) -> None:
    """Muxers go back to mend their beginning."""
    path = tmp_path / "out"
    file = OutputFile(path)

    file.write(b"length ?, text")
    file.seek(7)
    file.write(b"4")
    file.seek(0, 2)
    file.write(b"!")
    file.commit()
    file.close()

    assert path.read_bytes() == b"length 4, text!"
