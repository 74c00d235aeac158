"""A video as a backdrop: by the stream's clock, again and again."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.effects.backdrop import VideoLoop
from pipeline.sources.synthetic import read_number
from tests.pipeline.sources.clips import BT709, LIMITED, numbered, write_clip

WIDTH, HEIGHT = 320, 240
FRAME_NS = 40_000_000


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 numbered pictures, 25 a second: 0.48 s."""
    return write_clip(tmp_path_factory.mktemp("backdrop") / "clip.mp4")


def _shown(loop: VideoLoop, pts_ns: int) -> int | None:
    return read_number(loop.at(pts_ns))


def test_it_keeps_its_speed_at_any_rate_of_the_stream(clip: Path) -> None:
    """A stream of 50 frames a second shows each picture twice, one of 12.5 every second picture."""
    fast, slow = VideoLoop(clip, HEIGHT, WIDTH), VideoLoop(clip, HEIGHT, WIDTH)

    assert [_shown(fast, n * FRAME_NS // 2) for n in range(8)] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert [_shown(slow, n * FRAME_NS * 2) for n in range(6)] == [1, 3, 5, 7, 9, 11]


def test_after_its_end_it_begins_again(clip: Path) -> None:
    """Three rounds, no picture lost and none twice."""
    loop = VideoLoop(clip, HEIGHT, WIDTH)

    shown = [_shown(loop, n * FRAME_NS + 1_000_000) for n in range(36)]

    assert shown == [*range(1, 13)] * 3


def test_a_stream_may_jump(clip: Path) -> None:
    """Back, far ahead, and into a later round."""
    loop = VideoLoop(clip, HEIGHT, WIDTH)
    _shown(loop, 10 * FRAME_NS)

    assert _shown(loop, 2 * FRAME_NS) == 3
    for n in (5, 300, 7, 1000):
        assert _shown(loop, n * FRAME_NS + 1_000_000) == n % 12 + 1


def test_a_stream_that_begins_late_finds_its_place(clip: Path) -> None:
    """The first wish lies many rounds ahead: nothing is known of the length yet."""
    assert _shown(VideoLoop(clip, HEIGHT, WIDTH), 125 * FRAME_NS + 1_000_000) == 125 % 12 + 1


def test_a_time_before_the_beginning_is_the_beginning(clip: Path) -> None:
    """Nothing is before the first picture."""
    assert _shown(VideoLoop(clip, HEIGHT, WIDTH), -5) == 1


def test_a_clip_that_was_cut_off_loops_over_what_it_has(tmp_path: Path) -> None:
    """A broken end is no reason to stop the stream."""
    whole = write_clip(tmp_path / "whole.ts", n_frames=40)
    cut = tmp_path / "cut.ts"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    loop = VideoLoop(cut, HEIGHT, WIDTH)

    shown = [_shown(loop, n * FRAME_NS + 1_000_000) for n in range(80)]

    assert shown[:10] == [*range(1, 11)]
    assert shown.count(1) >= 2


def test_one_picture_is_a_video_too(tmp_path: Path) -> None:
    """It stands still."""
    loop = VideoLoop(write_clip(tmp_path / "one.mp4", n_frames=1), HEIGHT, WIDTH)

    assert [_shown(loop, n * FRAME_NS) for n in range(4)] == [1, 1, 1, 1]


def test_an_animated_gif_loops(tmp_path: Path) -> None:
    """FFmpeg reads it like a video."""
    clip = write_clip(tmp_path / "clip.gif", codec="gif", pixel_format="rgb8")
    loop = VideoLoop(clip, HEIGHT, WIDTH)

    assert [_shown(loop, n * FRAME_NS + 1_000_000) for n in range(24)] == [*range(1, 13)] * 2


@pytest.mark.parametrize("colour", [None, (BT709, LIMITED)])
def test_its_colours_are_those_of_its_tag(tmp_path: Path, colour: tuple[int, int] | None) -> None:
    """A clip tagged BT.709 and one without a tag both come out as they were painted."""
    loop = VideoLoop(write_clip(tmp_path / "c.mp4", colour=colour), HEIGHT, WIDTH)

    shown = loop.at(0)

    # The patch's middle, far from the number: two levels for the coding, two for the arithmetic.
    patch = np.s_[HEIGHT * 3 // 4, WIDTH * 3 // 4]
    assert np.abs(shown[patch].astype(int) - numbered(1)[patch]).max() <= 4


@pytest.mark.parametrize(("width", "height"), [(160, 120), (99, 301), (641, 241)])
def test_it_covers_a_frame_of_any_size(clip: Path, width: int, height: int) -> None:
    """The picture fills the frame, its lower right quarter still red."""
    shown = VideoLoop(clip, height, width).at(0)

    assert shown.shape == (height, width, 3)
    assert shown[height * 3 // 4, width * 3 // 4, 2] > 150
    assert shown[-1, 0, 0] > 100
