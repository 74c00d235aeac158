"""The source's sound in the file that is written: there, in step, and no longer than the picture."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipeline.sinks import sink_from_text
from tests.pipeline.sinks import feed

RATE_HZ = 48_000
SILENT_S = 1.0
"""The sound begins after this."""


def _clip(path: Path, codec: str, *, seconds: float = 4.0, rate_hz: int = RATE_HZ, layout: str = "mono") -> Path:
    """A video of 100 frames in 4 s, whose sound is silence and then a tone."""
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        audio: Any = container.add_stream(codec, rate=rate_hz, layout=layout)
        audio.codec_context.open()
        for number in range(1, 101):
            frame = av.VideoFrame.from_ndarray(feed.picture(number), format="bgr24")
            frame.pts, frame.time_base = number - 1, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        at_s = np.arange(int(seconds * rate_hz)) / rate_hz
        tone = (np.sin(2 * np.pi * 440 * at_s) * 12_000 * (at_s >= SILENT_S)).astype(np.int16)
        n_channels = audio.codec_context.layout.nb_channels
        samples = np.repeat(tone, n_channels)[None]
        sound = av.AudioFrame.from_ndarray(samples, format="s16", layout=layout)
        sound.sample_rate, sound.pts = rate_hz, 0
        resampler = av.AudioResampler(
            audio.format.name, layout, rate_hz, frame_size=audio.codec_context.frame_size or None
        )
        for piece in [*resampler.resample(sound), *resampler.resample(None)]:
            container.mux(audio.encode(piece))
        container.mux(audio.encode(None))
    return path


def _written(source: Path, target: Path, numbers: range, announce: feed.Announce = feed.ignore) -> Path:
    format = feed.stream_format(source=str(source), audio_path=str(source))
    sink = sink_from_text(f"file:{target}").open(format, pacing="lossless", announce=announce)
    for number in numbers:
        sink.accept(feed.shown(number))
    sink.close()
    return target


def _sound(path: Path) -> tuple[str, float, float, float]:
    """Codec, and in seconds: when the sound begins, when the tone begins, when the sound ends."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        frames = list(container.decode(stream))
    begin_s = float(frames[0].pts * frames[0].time_base)
    levels = np.concatenate([np.abs(frame.to_ndarray().astype(float)).max(axis=0) for frame in frames])
    if not frames[0].format.is_planar:
        levels = levels.reshape(-1, stream.channels).max(axis=1)
    rate_hz = frames[0].sample_rate
    tone_s = begin_s + float(np.argmax(levels > levels.max() / 4)) / rate_hz
    return stream.codec_context.name, begin_s, tone_s, begin_s + len(levels) / rate_hz


@pytest.mark.parametrize(
    ("source", "codec", "target", "expected"),
    [
        ("in.mp4", "aac", "out.mp4", "aac"),
        ("in.mp4", "aac", "out.mkv", "aac"),
        ("in.mkv", "ac3", "out.mov", "ac3"),
        ("in.mkv", "flac", "out.mkv", "flac"),
        ("in.mov", "pcm_s16le", "out.mov", "pcm_s16le"),
        ("in.mkv", "wavpack", "out.mp4", "aac"),
        ("in.mov", "pcm_s16le", "out.mp4", "aac"),
        ("in.ts", "mp2", "out.mkv", "aac"),
        ("in.ts", "aac", "out.mp4", "aac"),
    ],
)
def test_sound_is_carried_over_and_in_step(tmp_path: Path, source: str, codec: str, target: str, expected: str) -> None:
    """Copied where the container takes the codec, else AAC; the tone begins when it did."""
    clip = _clip(tmp_path / source, codec)

    path = _written(clip, tmp_path / target, range(1, 101))

    name, _, tone_s, end_s = _sound(path)
    assert name == expected
    # Of the source as it is read back: a codec's own delay is the source's business. Two AAC frames of tolerance.
    assert tone_s == pytest.approx(_sound(clip)[2] - _picture_begins_s(clip), abs=0.045)
    assert end_s == pytest.approx(4.0, abs=0.08)
    assert feed.numbers_in(path) == list(range(1, 101))


def _picture_begins_s(path: Path) -> float:
    return feed.times_in(path)[0]


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_sound_is_no_longer_than_what_was_shown(tmp_path: Path, codec: str) -> None:
    """A run of 50 of 100 frames ends with two seconds of sound, and not later."""
    clip = _clip(tmp_path / "in.mov", codec, seconds=6.0)

    path = _written(clip, tmp_path / "out.mp4", range(1, 51))

    assert 1.9 < _sound(path)[3] <= 2.001


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_sound_of_a_later_beginning_is_in_step(tmp_path: Path, codec: str) -> None:
    """A restarted worker begins at frame 16, 0.6 s in: the tone, at 1 s of the source, is at 0.4 s of its file."""
    clip = _clip(tmp_path / "in.mov", codec)

    path = _written(clip, tmp_path / "out.mp4", range(16, 101))

    assert _sound(path)[2] == pytest.approx(0.4, abs=0.045)


def test_sound_that_ends_early_leaves_the_picture_whole(tmp_path: Path) -> None:
    """Half a second of sound, four seconds of picture."""
    clip = _clip(tmp_path / "in.mp4", "aac", seconds=0.5)

    path = _written(clip, tmp_path / "out.mp4", range(1, 101))

    assert feed.numbers_in(path) == list(range(1, 101))
    assert _sound(path)[3] == pytest.approx(0.5, abs=0.08)


def test_what_is_changed_is_announced(tmp_path: Path) -> None:
    """A copied sound is not worth a word; a converted one is, and a missing one."""
    lines: list[str] = []
    clip = _clip(tmp_path / "in.mov", "pcm_s16le")

    _written(clip, tmp_path / "copied.mov", range(1, 3), lines.append)
    _written(clip, tmp_path / "converted.mp4", range(1, 3), lines.append)
    clip.write_bytes(b"no video any more")
    _written(clip, tmp_path / "silent.mp4", range(1, 3), lines.append)

    assert lines[0] == f"{tmp_path / 'converted.mp4'}: its pcm_s16le sound becomes AAC, which .mp4 takes"
    assert lines[1].startswith(f"{tmp_path / 'silent.mp4'}: without sound")
    assert feed.numbers_in(tmp_path / "silent.mp4") == [1, 2]
