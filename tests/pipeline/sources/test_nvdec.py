"""Decoding on a GPU, with decoders that act as if: it takes over, it fails; no picture is lost, repeated or swapped."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.error import ExternalError, InvalidDataError

from pipeline.sources import nvdec, reader
from pipeline.sources.file import FileOptions, FileSource
from pipeline.sources.nvdec import nvdec_reason
from pipeline.sources.synthetic import read_number
from tests.pipeline.sources.clips import numbers, write_clip

N = 40


class Acting:
    """Decodes in software. From the call with this number on it fails with this error."""

    def __init__(self, software: Any, fails_at: int, error: type[Exception]) -> None:
        self._decoder: Any = av.CodecContext.create("h264", "r")
        self._decoder.extradata = software.extradata
        self._fails_at, self._error = fails_at, error
        self.n_calls = 0

    def decode(self, packet: Any) -> Any:
        self.n_calls += 1
        if self.n_calls >= self._fails_at:
            raise self._error(1, "cuvidDecodePicture failed")
        return self._decoder.decode(packet)

    def flush_buffers(self) -> None:
        self._decoder.flush_buffers()


class Gpu:
    """What the sources of a test meet."""

    def __init__(self) -> None:
        self.fails_at, self.error = 1_000_000, ExternalError
        self.decoders: list[Acting] = []

    def open(self, software: Any) -> Acting:
        self.decoders.append(Acting(software, self.fails_at, self.error))
        return self.decoders[-1]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """A machine that has one."""
    gpu = Gpu()
    monkeypatch.setattr(reader, "open_nvdec", gpu.open)
    return gpu


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four groups of ten pictures; B-frames, so that packets and pictures come in different orders."""
    options = {"crf": "18", "preset": "veryfast", "g": "10", "bf": "2", "sc_threshold": "0"}
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", N, options=options)


@pytest.fixture
def opened() -> Iterator[Any]:
    """Opens a file, and notes what it tells."""
    sources: list[FileSource] = []

    def open_file(path: Path, **options: Any) -> tuple[FileSource, list[tuple[str, str]]]:
        told: list[tuple[str, str]] = []
        source = FileOptions(path=str(path), **options).open()
        source.on_event = lambda what, why: told.append((what, why))
        sources.append(source)
        return source, told

    yield open_file
    for source in sources:
        source.close()


def test_the_gpu_takes_over_after_the_first_picture(gpu: Gpu, clip: Path, opened: Any) -> None:
    """It decodes from the key frame on, and what was shown already is not shown again."""
    source, told = opened(clip, hwaccel="cuda")

    assert numbers(source) == list(range(1, N + 1))
    assert gpu.decoders[0].n_calls == N + 1, "every packet, and the empty one at the end"
    assert source.format.granted.endswith(", NVDEC")
    assert told == []


@pytest.mark.parametrize("fails_at", [1, 2, 9, 10, 11, 12, 25, N, N + 1])
def test_a_gpu_that_fails_in_mid_stream_costs_no_picture(gpu: Gpu, clip: Path, opened: Any, fails_at: int) -> None:
    """At its first packet, around a key frame, at the last one, at the end: the processor goes on, and it is told."""
    gpu.fails_at = fails_at
    source, told = opened(clip, hwaccel="cuda")

    assert numbers(source) == list(range(1, N + 1))
    assert gpu.decoders[0].n_calls == fails_at, "it is not asked again"
    assert [what for what, _ in told] == ["decoded by the processor"]
    assert "NVDEC failed in mid-stream (cuvidDecodePicture failed)" in told[0][1]


def test_a_gpu_that_calls_everything_damaged_is_not_believed(gpu: Gpu, clip: Path, opened: Any) -> None:
    """A packet may be damaged; ten in a row are a decoder that does not know the stream."""
    gpu.fails_at, gpu.error = 5, InvalidDataError
    source, told = opened(clip, hwaccel="cuda")

    assert numbers(source) == list(range(1, N + 1))
    assert "decoded by the processor" in [what for what, _ in told]


def test_too_many_packets_since_a_key_frame_cost_the_rest_of_the_group(
    gpu: Gpu, clip: Path, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded: then the processor waits for the next key frame, and the order stays."""
    monkeypatch.setattr(nvdec, "MAX_KEPT", 4)
    gpu.fails_at = 18
    source, _ = opened(clip, hwaccel="cuda")

    seen = numbers(source)

    assert seen == sorted(set(seen))
    assert seen[-20:] == list(range(21, N + 1))


def test_a_loop_begins_again_on_the_gpu(gpu: Gpu, clip: Path, opened: Any) -> None:
    """What the decoder held of the end does not show at the beginning."""
    source, _ = opened(clip, hwaccel="cuda", loop=True)

    image_bgr = np.empty((240, 320, 3), np.uint8)
    seen = []
    for _ in range(2 * N):
        source.grab().copy_into(image_bgr)
        seen.append(read_number(image_bgr))

    assert seen == 2 * list(range(1, N + 1))


def test_without_a_driver_the_one_who_asked_is_told(clip: Path, opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`cuda` says why not and goes on; `auto` says nothing, as on every machine without a GPU."""
    monkeypatch.setattr(nvdec, "nvidia_reason", lambda: "no NVIDIA driver")
    named, told = opened(clip, hwaccel="cuda")
    automatic, silent = opened(clip, hwaccel="auto")

    assert numbers(named) == numbers(automatic) == list(range(1, N + 1))
    assert [what for what, _ in told] == ["decoded by the processor"]
    assert "hwaccel cuda was wanted; no NVIDIA driver; run_stream.py doctor tells more" in told[0][1]
    assert silent == []
    assert "NVDEC" not in named.format.granted + automatic.format.granted


def test_auto_leaves_small_pictures_to_the_processor(
    gpu: Gpu, clip: Path, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU is slower with them; from 1080p on it is asked."""
    opened(clip, hwaccel="auto")
    before = len(gpu.decoders)
    monkeypatch.setattr(reader, "AUTO_FROM_PIXELS", 320 * 240)
    opened(clip, hwaccel="auto")

    assert (before, len(gpu.decoders)) == (0, 1)


def test_pictures_that_are_to_be_turned_stay_with_the_processor(gpu: Gpu, tmp_path: Path, opened: Any) -> None:
    """The display matrix belongs to the container; a decoder beside it does not know it."""
    source, told = opened(write_clip(tmp_path / "turned.mp4", 3, rotation=90), hwaccel="cuda")

    source.grab()

    assert gpu.decoders == []
    assert "are to be turned" in told[0][1]


def test_what_ffmpeg_says_of_the_gpu_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """A codec without NVDEC is named; without a driver nothing is asked."""
    monkeypatch.setattr(nvdec, "nvidia_reason", lambda: None)
    unknown = nvdec_reason("gif")
    monkeypatch.setattr(nvdec, "nvidia_reason", lambda: "no NVIDIA driver")

    assert unknown == "this FFmpeg decodes no gif by NVDEC"
    assert nvdec_reason() == "no NVIDIA driver"
