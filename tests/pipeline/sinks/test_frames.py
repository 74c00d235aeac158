"""Pictures in a folder: which, exactly as shown, and what is said when they cannot be written."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import SinkError
from pipeline.sinks import Sink, sink_from_text
from tests.pipeline.sinks import feed
from tests.pipeline.sinks.limit import files_of_at_most


def _opened(folder: Path, announce: feed.Announce = feed.ignore) -> Sink:
    return sink_from_text(f"frames:{folder}").open(feed.stream_format(), pacing="lossless", announce=announce)


def test_pictures_are_the_composites_named_by_their_sequence(tmp_path: Path) -> None:
    """Every pixel is what was shown; a dropped frame is a gap in the names; the folder is made."""
    sink = _opened(tmp_path / "pictures")

    for number in (1, 2, 5):
        sink.accept(feed.shown(number))
    sink.close()

    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == ["000000.png", "000001.png", "000004.png"]
    assert np.array_equal(cv2.imread(str(tmp_path / "pictures" / "000004.png")), feed.picture(5))


def test_pictures_of_an_earlier_run_are_mentioned(tmp_path: Path) -> None:
    """Pictures of two runs in one folder would look like one run, so the person is told."""
    lines: list[str] = []
    (tmp_path / "000009.png").write_bytes(b"")

    _opened(tmp_path, lines.append).close()

    assert lines == [f"{tmp_path}: holds 1 pictures already; those of the same number are replaced"]


def test_a_full_disk_leaves_no_half_picture(tmp_path: Path) -> None:
    """The picture that did not fit is removed, those before stay."""
    sink = _opened(tmp_path)
    sink.accept(feed.shown(1))

    with files_of_at_most(1000), pytest.raises(SinkError, match=r"000001\.png: File too large"):
        sink.accept(feed.shown(2))

    assert [path.name for path in tmp_path.iterdir()] == ["000000.png"]


def test_a_place_that_cannot_be_is_refused_with_a_remedy(tmp_path: Path) -> None:
    """A file in the place of the folder, and a folder whose parent is missing."""
    (tmp_path / "file").write_text("")

    with pytest.raises(SinkError, match="is a file; name a folder"):
        _opened(tmp_path / "file")
    with pytest.raises(SinkError, match="make it: mkdir -p"):
        _opened(tmp_path / "no" / "pictures")
