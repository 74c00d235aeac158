"""The report's rows on copies and video, on a CPU; and with decoder and encoder that act as if."""

from typing import Any

import av
import pytest
import torch

from pipeline.sinks import file
from pipeline.sources import reader
from tests.gpu import video_rows as module
from tests.gpu.video_rows import video_rows


def test_without_a_gpu_the_copy_is_right_and_the_rest_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is timed, nothing is wrong."""
    monkeypatch.setattr(module, "nvdec_reason", lambda: "no NVIDIA driver")
    monkeypatch.setattr(module, "nvenc_reason", lambda **size: "no NVIDIA driver")

    rows = list(video_rows(torch.device("cpu"), is_quick=True))

    assert [row.refused for row in rows] == ["", "no NVIDIA driver", "no NVIDIA driver"]
    assert all(row.is_right for row in rows)
    assert [row.ms for row in rows] == [None, None, None]


def test_pictures_of_a_gpu_are_compared_with_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second decoder of the processor gives the same to the byte; the encoder's pictures are close."""

    def decoder(software: Any) -> Any:
        made: Any = av.CodecContext.create("h264", "r")
        made.extradata = software.extradata
        return made

    monkeypatch.setattr(module, "nvdec_reason", lambda: None)
    monkeypatch.setattr(module, "nvenc_reason", lambda **size: None)
    monkeypatch.setattr(reader, "open_nvdec", decoder)
    monkeypatch.setattr(file, "nvenc_reason", lambda *size: "left to libx264")

    _, decoded, encoded = video_rows(torch.device("cpu"), is_quick=True)

    assert (decoded.difference, decoded.is_right) == (0.0, True)
    assert not encoded.is_right, "libx264 wrote it, which is no answer to whether NVENC works"
    assert "left to libx264" in encoded.facts["told"][0]
