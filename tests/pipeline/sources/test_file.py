"""Files: what cannot be read says why, and what can is read whole, upright and in its own time."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import SourceCause, SourceUnavailable
from pipeline.sources import source_from_uri
from pipeline.sources.file import FileOptions
from pipeline.sources.synthetic import read_number
from tests.pipeline.sources.clips import images, numbered, numbers, write_clip


def _refusal(path: Path) -> SourceUnavailable:
    with pytest.raises(SourceUnavailable) as refused:
        FileOptions(path=str(path)).open()
    assert str(path) in str(refused.value)
    return refused.value


def test_every_frame_comes_once_and_in_order(tmp_path: Path) -> None:
    """A clip gives its frames, then None, and None again."""
    source = FileOptions(path=str(write_clip(tmp_path / "a.mp4", 12))).open()

    assert numbers(source) == list(range(1, 13))
    assert source.grab() is None
    assert (source.format.width, source.format.height, source.format.rate_hz) == (320, 240, 25)
    assert source.format.n_frames == 12
    assert not source.format.is_live


@pytest.mark.parametrize("threads", [1, 3])
def test_frames_may_outlive_the_next_ones(tmp_path: Path, threads: int) -> None:
    """Several grabbed frames are alive at once, and none becomes another; also when the source is closed."""
    source = FileOptions(path=str(write_clip(tmp_path / "a.mp4", 8)), threads=threads).open()
    grabbed = [frame for _ in range(8) if (frame := source.grab()) is not None]
    source.close()

    image_bgr = np.empty((240, 320, 3), np.uint8)
    found = []
    for frame in reversed(grabbed):
        frame.copy_into(image_bgr)
        found.append(read_number(image_bgr))

    assert found == list(range(8, 0, -1))


def test_variable_frame_rate_keeps_its_own_times(tmp_path: Path) -> None:
    """Time stamps are the container's, rebased to 0; nothing is made even."""
    times = [0.5, 0.54, 0.9, 1.0, 2.25]
    source = FileOptions(path=str(write_clip(tmp_path / "a.mkv", 5, times=times))).open()

    pts_ms = [frame.pts_ns / 1e6 for _ in times if (frame := source.grab()) is not None]

    assert pts_ms == [0, 40, 400, 500, 1750]


def test_the_video_stream_is_found_behind_the_audio(tmp_path: Path) -> None:
    """A file whose first stream is sound is read, and its sound is offered to a file sink."""
    path = write_clip(tmp_path / "a.mkv", 4, has_audio_first=True)

    source = FileOptions(path=str(path)).open()

    assert source.format.audio_path == str(path)
    assert numbers(source) == [1, 2, 3, 4]


def test_a_silent_file_offers_no_audio(tmp_path: Path) -> None:
    """Without a sound track there is no path to carry sound from."""
    assert FileOptions(path=str(write_clip(tmp_path / "a.mp4", 2))).open().format.audio_path is None


@pytest.mark.parametrize(("rotation", "size"), [(90, (240, 320)), (180, (320, 240)), (-90, (240, 320))])
def test_rotation_is_applied(tmp_path: Path, rotation: int, size: tuple[int, int]) -> None:
    """A phone's clip stands upright: the picture is turned counter-clockwise by what its metadata says."""
    source = FileOptions(path=str(write_clip(tmp_path / "a.mp4", 2, rotation=rotation))).open()

    image_bgr = images(source)[0]

    assert (source.format.width, source.format.height) == size
    upright = np.rot90(image_bgr, -rotation // 90)  # turned back
    # 12 levels: what H.264 at crf 12 does to flat colours.
    assert np.abs(upright[180:220, 200:300].astype(int) - (30, 60, 200)).max() <= 12
    assert read_number(np.ascontiguousarray(upright)) == 1


def test_odd_sizes_are_read(tmp_path: Path) -> None:
    """Odd sides are legal in a file, if not in yuv420p."""
    path = write_clip(tmp_path / "a.mkv", 3, 321, 181, pixel_format="yuv444p")

    source = FileOptions(path=str(path)).open()

    assert (source.format.width, source.format.height) == (321, 181)
    assert numbers(source) == [1, 2, 3]


def test_a_size_that_changes_is_letterboxed_into_the_first(tmp_path: Path) -> None:
    """The slot's size is fixed for the run: a later size is fitted into it, with black bars, and said so."""
    small = write_clip(tmp_path / "small.ts", 3, 160, 240, options={"preset": "ultrafast", "crf": "12"})
    large = write_clip(tmp_path / "large.ts", 3, 320, 240)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(large.read_bytes() + small.read_bytes())
    events: list[str] = []
    source = FileOptions(path=str(joined)).open()
    source.on_event = lambda what, why: events.append(f"{what}: {why}")

    found = images(source)

    assert len(found) == 6
    assert read_number(found[2]) == 3
    last = found[-1]
    assert last[:, :80].max() == 0
    assert last[:, 240:].max() == 0
    assert read_number(np.ascontiguousarray(last[:, 80:240])) == 3
    assert any("size changed" in event and "320x240 became 160x240" in event for event in events)


def test_a_wanted_size_scales_the_file(tmp_path: Path) -> None:
    """Width and height of the options are the format; the numbers survive the scaling."""
    source = FileOptions(path=str(write_clip(tmp_path / "a.mp4", 3)), width=640, height=480).open()

    assert numbers(source) == [1, 2, 3]
    assert (source.format.width, source.format.height) == (640, 480)


def test_a_looped_file_starts_again_and_time_goes_on(tmp_path: Path) -> None:
    """With `loop` the first frame follows the last, later."""
    source = FileOptions(path=str(write_clip(tmp_path / "a.mp4", 3)), loop=True).open()
    image_bgr = np.empty((240, 320, 3), np.uint8)
    found, pts_ns = [], []
    for _ in range(7):
        frame = source.grab()
        assert frame is not None
        frame.copy_into(image_bgr)
        found.append(read_number(image_bgr))
        pts_ns.append(frame.pts_ns)

    assert found == [1, 2, 3, 1, 2, 3, 1]
    assert pts_ns == sorted(set(pts_ns))
    assert source.format.n_frames is None


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("a.avi", "mjpeg", "yuvj420p"),
        ("a.gif", "gif", "rgb8"),
        ("a.mkv", "ffv1", "yuv420p10le"),
        ("a.png", "png", "rgb24"),
    ],
)
def test_other_formats_are_read(tmp_path: Path, name: str, codec: str, pixel_format: str) -> None:
    """Motion JPEG, GIF, ten bits, a single picture: what FFmpeg reads, this reads."""
    n_frames = 1 if name == "a.png" else 3
    path = write_clip(tmp_path / name, n_frames, codec=codec, pixel_format=pixel_format)

    assert numbers(FileOptions(path=str(path)).open()) == list(range(1, n_frames + 1))


def test_a_damaged_middle_is_skipped_and_counted(tmp_path: Path) -> None:
    """Damaged packets cost their frames, not the rest of the file."""
    path = write_clip(tmp_path / "a.ts", 60, options={"g": "10", "preset": "ultrafast", "crf": "12"})
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = os.urandom(4000)
    path.write_bytes(content)
    events: list[str] = []
    source = FileOptions(path=str(path)).open()
    source.on_event = lambda what, why: events.append(what)

    found = numbers(source)

    assert found[0] == 1
    assert found[-1] == 60
    assert len(found) > 40


def test_a_missing_file_names_the_near_one(tmp_path: Path) -> None:
    """A typing mistake in a name is answered with the name that was meant."""
    write_clip(tmp_path / "holiday.mp4", 1)

    refusal = _refusal(tmp_path / "holidays.mp4")

    assert refusal.cause is SourceCause.NOT_FOUND
    assert "'holiday.mp4'" in str(refusal)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    """A folder is not a source, and the message says what it is."""
    refusal = _refusal(tmp_path)

    assert refusal.cause is SourceCause.NOT_FOUND
    assert "folder" in str(refusal)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_without_permission_is_told_apart(tmp_path: Path) -> None:
    """A file that exists but may not be read is not called missing."""
    path = write_clip(tmp_path / "a.mp4", 1)
    path.chmod(0)

    assert _refusal(path).cause is SourceCause.PERMISSION


@pytest.mark.parametrize("name", ["notes.mp4", "notes.txt", "notes"])
def test_a_text_is_no_video(tmp_path: Path, name: str) -> None:
    """A file of words is refused as what it is, in one line; FFmpeg would draw a .txt as a terminal does."""
    path = tmp_path / name
    path.write_text("these are not the frames you are looking for\n" * 50)

    refusal = _refusal(path)

    assert refusal.cause is SourceCause.CODEC
    assert "\n" not in str(refusal)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    """Nothing at all is cut short, not a strange format."""
    path = tmp_path / "a.mp4"
    path.touch()

    assert _refusal(path).cause is SourceCause.TRUNCATED


def test_a_recording_that_was_not_ended_is_truncated(tmp_path: Path) -> None:
    """An MP4 without its index is told apart from something that is no video."""
    path = write_clip(tmp_path / "a.mp4", 30)
    path.write_bytes(path.read_bytes()[:3000])

    refusal = _refusal(path)

    assert refusal.cause is SourceCause.TRUNCATED
    assert "moov" in str(refusal)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    """A file with sound only says what it holds."""
    import av

    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))

    refusal = _refusal(path)

    assert refusal.cause is SourceCause.CODEC
    assert "audio" in str(refusal)


def test_a_file_cut_in_the_middle_gives_what_it_has(tmp_path: Path) -> None:
    """Half a file is half a stream, with an event that says so, and no error at the end."""
    path = write_clip(tmp_path / "a.mp4", 40, options={"movflags": "faststart", "crf": "12"})
    whole = path.read_bytes()
    if whole.find(b"moov") > whole.find(b"mdat"):
        path = write_clip(tmp_path / "a.avi", 40, codec="mjpeg", pixel_format="yuvj420p")
        whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 6 // 10])
    events: list[str] = []
    source = FileOptions(path=str(path)).open()
    source.on_event = lambda what, why: events.append(what)

    found = numbers(source)

    assert found[:10] == list(range(1, 11))
    assert 10 < len(found) < 40
    assert "source cut short" in events


def test_close_from_another_thread_ends_the_reading(tmp_path: Path) -> None:
    """After `close`, `grab` gives None instead of touching freed memory."""
    source = FileOptions(path=str(write_clip(tmp_path / "a.mp4", 50)), loop=True).open()
    ended = threading.Event()

    def read() -> None:
        while source.grab() is not None:
            pass
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    source.close()
    source.close()

    assert ended.wait(10)
    reader.join()


def test_a_name_with_a_colon_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg would take `a:b.mp4` for a protocol; here it is the file that exists."""
    write_clip(tmp_path / "a:b.mp4", 2)
    monkeypatch.chdir(tmp_path)

    source = source_from_uri("a:b.mp4").open()

    assert numbers(source) == [1, 2]


def test_real_clips_are_read(shared_data: Path) -> None:
    """An audio-first motorway and a full-range webcam of the shared data give every frame they promise."""
    for name, n_frames in (("solidWhiteRight.mp4", 221), ("webcam_hungry.mkv", 49)):
        source = FileOptions(path=str(shared_data / "videos" / name)).open()

        assert len(images(source)) == n_frames


def test_the_painted_frame_is_what_the_clip_holds(tmp_path: Path) -> None:
    """A lossless clip comes back as it was painted, within a level or two of colour conversion."""
    path = write_clip(tmp_path / "a.mkv", 1, codec="ffv1", pixel_format="bgr0")

    image_bgr = images(FileOptions(path=str(path)).open())[0]

    assert np.array_equal(image_bgr, numbered(1))
