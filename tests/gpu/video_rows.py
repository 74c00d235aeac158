"""Pictures that go to a GPU from the slots, page-locked or not; and video that a GPU decodes and encodes.

On a CPU the copy stays in host memory, NVDEC and NVENC are refused with their reason, and nothing is timed. The trap:
a copy from memory that is not locked is over when the call returns, one from locked memory has only begun; so both the
call and the wait are timed.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engines.errors import EngineError
from engines.runtime.device import Device, open_device
from engines.runtime.host_device import HostDevice
from pipeline.frame import StreamFormat
from pipeline.memory import Region
from pipeline.sinks import Shown
from pipeline.sinks.file import FileOptions as ToFile
from pipeline.sinks.nvenc import nvenc_reason
from pipeline.sources.file import FileOptions as FromFile
from pipeline.sources.nvdec import nvdec_reason
from tests.gpu.rows import Row

__all__ = ["video_rows"]

DECODED_BOUND = 2.0
"""Levels. H.264 prescribes every sample, and both ways of colour are one arithmetic: 0 is expected."""
ENCODED_BOUND = 6.0
"""Levels, mean over a picture, at crf 20."""


def video_rows(device: torch.device, is_quick: bool) -> Iterator[Row]:
    """Copies, then decoding, then encoding."""
    is_gpu = device.type == "cuda"
    width, height, n_frames = (192, 112, 6) if is_quick else (1920, 1080, 120)
    yield _copied(open_device() if is_gpu else HostDevice(), is_gpu, width, height)
    with tempfile.TemporaryDirectory(prefix="video-rows-") as folder:
        yield _decoded(Path(folder), width, height, n_frames)
        yield _encoded(Path(folder), width, height, n_frames)


def _copied(device: Device, is_gpu: bool, width: int, height: int) -> Row:
    """A frame from memory of the slots' kind to the device and back, before and after that memory is locked."""
    work = f"copy of a {width}x{height} frame from page-locked slots"
    n_bytes = height * width * 3
    with Region.create(-(-2 * n_bytes // 4096) * 4096, "report") as region:
        there, back = (region.array(at * n_bytes, (n_bytes,), "uint8") for at in (0, 1))
        there[:] = np.random.default_rng(0).integers(0, 256, n_bytes, np.uint8)
        buffer = device.allocate(n_bytes)
        try:
            plain = _times_ms(device, lambda: device.upload(buffer, there)) if is_gpu else None
            address, size = region.span
            try:
                device.lock(address, size)
            except EngineError as error:
                return Row(work, "-", 0.0, 0.0, "", refused=str(error), facts={"not_locked_ms": plain})
            try:
                locked = _times_ms(device, lambda: device.upload(buffer, there)) if is_gpu else None
                device.upload(buffer, there)
                device.download(back, buffer)
                device.wait()
                difference = float(np.count_nonzero(there != back))
            finally:
                device.unlock(address)
        finally:
            buffer.free()
            device.close()
    facts: dict[str, Any] = {}
    if plain is not None and locked is not None:
        facts = {"not_locked_ms": plain[1], "not_locked_call_ms": plain[0], "locked_call_ms": locked[0]}
        facts["locked_gb_s"] = n_bytes / locked[1] / 1e6
    return Row(work, "the bytes", difference, 0.0, "bytes", locked[1] if locked else None, facts=facts)


def _times_ms(device: Device, queue: Callable[[], None]) -> tuple[float, float]:
    """Median of the call alone, and of the call with the wait for it."""
    calls, wholes = [], []
    for _ in range(100):
        begin = time.perf_counter()
        queue()
        called = time.perf_counter()
        device.wait()
        calls.append((called - begin) * 1e3)
        wholes.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(calls), statistics.median(wholes)


def _decoded(folder: Path, width: int, height: int, n_frames: int) -> Row:
    """Every picture of a clip by NVDEC, beside the processor's; times with colour, per picture."""
    work = f"H.264 {width}x{height} by NVDEC, to the slot"
    reason = nvdec_reason()
    if reason is not None:
        return Row(work, "-", 0.0, 0.0, "", refused=reason)
    from tests.pipeline.sources.clips import write_clip  # needs PyAV, which copies do not

    clip = write_clip(folder / "clip.mp4", n_frames, width, height, options={"crf": "18", "preset": "veryfast"})
    processor, processor_ms, _ = _read(clip, "none")
    gpu, gpu_ms, granted = _read(clip, "cuda")
    difference = float("nan")  # pictures are missing, or it was not NVDEC after all
    if len(gpu) == len(processor) == n_frames and granted.endswith("NVDEC"):
        pairs = zip(gpu, processor, strict=True)
        difference = max(float(np.abs(one.astype(int) - other).max()) for one, other in pairs)
    facts = {"processor_ms": processor_ms, "granted": granted}
    return Row(work, "the processor's", difference, DECODED_BOUND, "levels", gpu_ms, facts=facts)


def _read(clip: Path, hwaccel: str) -> tuple[list[NDArray[np.uint8]], float, str]:
    """Every eighth picture, ms for each of all, and who decoded; `granted` is from before the first one."""
    source = FromFile.model_validate({"path": str(clip), "hwaccel": hwaccel}).open()
    failed: list[str] = []
    source.on_event = lambda what, why: failed.append(why)
    image_bgr = np.empty((source.format.height, source.format.width, 3), np.uint8)
    kept = []
    begin = time.perf_counter()
    while (grabbed := source.grab()) is not None:
        grabbed.copy_into(image_bgr)
        kept.append(image_bgr.copy() if len(kept) % 8 == 0 else image_bgr[:1, :1].copy())
    ms = (time.perf_counter() - begin) * 1e3 / max(1, len(kept))
    source.close()
    return kept, ms, "; ".join(failed) or source.format.granted


def _encoded(folder: Path, width: int, height: int, n_frames: int) -> Row:
    """A file by NVENC, read back; ms a picture, colour included."""
    work = f"H.264 {width}x{height} by NVENC, into a file"
    reason = nvenc_reason(width=width, height=height)
    if reason is not None:
        return Row(work, "-", 0.0, 0.0, "", refused=reason)
    from tests.pipeline.sources.clips import numbered

    path, told = folder / "out.mp4", list[str]()
    format = StreamFormat(width=width, height=height, rate_hz=Fraction(25), is_live=False, source="report")
    sink = ToFile(path=str(path), codec="h264_nvenc").open(format, pacing="lossless", announce=told.append)
    pictures = [numbered(number, width, height) for number in range(1, 9)]
    begin = time.perf_counter()
    for at in range(n_frames):
        sink.accept(Shown(pictures[at % 8], None, at, at * 40_000_000, 0, 0))
    sink.close()
    ms = (time.perf_counter() - begin) * 1e3 / n_frames
    sink.update({})
    seen, _, _ = _read(path, "none")
    difference = float("nan")  # pictures are missing, or libx264 went on
    if len(seen) == n_frames and not told:
        difference = float(np.abs(seen[0].astype(int) - pictures[0]).mean())
    return Row(work, "the pictures", difference, ENCODED_BOUND, "levels", ms, facts={"told": told})
