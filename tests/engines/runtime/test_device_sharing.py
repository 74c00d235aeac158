"""Device memory that two processes share, with files in the place of the device: handles, refusals, and the probe."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from engines.errors import BackendUnavailable, EngineError
from engines.runtime import device as device_module
from engines.runtime import sharing_probe
from engines.runtime.device import DeviceBuffer
from engines.runtime.device_sharing import BLOCK_BYTES, REFUSALS, MemoryHandle, SharingDevice
from engines.runtime.second_process import Line, SecondProcess
from engines.runtime.sharing_probe import sharing_reason
from tests.engines.runtime import host_cuda


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where "device memory" lies on a machine that has a driver and cuda-bindings; what is left in it was forgotten."""
    monkeypatch.setattr(sharing_probe, "nvidia_reason", lambda: None)
    return host_cuda.install(monkeypatch, tmp_path)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Processes that were started."""
    pids: list[int] = []

    class Noted(SecondProcess):
        def __init__(self, entry: str) -> None:
            super().__init__(entry)
            pids.append(self.pid)

    monkeypatch.setattr(sharing_probe, "SecondProcess", Noted)
    return pids


def _refuse(monkeypatch: pytest.MonkeyPatch, **errors: int) -> None:
    monkeypatch.setenv("HOST_CUDA_ERRORS", json.dumps(errors))


def _missing(name: str) -> None:
    raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_two_processes_write_into_the_same_memory(memory: Path, started: list[int]) -> None:
    """Each reads what the other wrote, behind the other's mark; then all is given back, by its owner last."""
    assert sharing_reason() is None

    calls = [line.split(" ", 1) for line in (memory.parent / "calls").read_text().splitlines()]
    order = [(who, what) for who, what in calls if what.startswith(("cudaMemcpy", "cudaEventRecord", "cudaStreamWait"))]
    up, down = "cudaMemcpyAsync 1", "cudaMemcpyAsync 2"
    assert order == [
        ("owner", up),
        ("owner", "cudaEventRecord"),
        ("other", "cudaStreamWaitEvent"),
        ("other", down),
        ("other", up),
        ("other", "cudaEventRecord"),
        ("owner", "cudaStreamWaitEvent"),
        ("owner", down),
    ]
    assert ["other", "cudaIpcCloseMemHandle"] in calls
    assert list(memory.iterdir()) == []
    assert [_is_gone(pid) for pid in started] == [True]


@pytest.mark.parametrize("number", sorted(REFUSALS))
def test_a_refusal_of_the_driver_is_told_by_its_name(
    number: int, memory: Path, started: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever process meets it: the function, CUDA's number and name, and what it means; nothing is left behind."""
    name, meaning = REFUSALS[number]
    call = "cudaIpcOpenMemHandle" if number % 2 else "cudaIpcGetMemHandle"
    _refuse(monkeypatch, **{call: number})

    reason = sharing_reason()

    assert reason == f"{call}: CUDA error {number}, as the driver says ({name}: {meaning})"
    assert f"{'other' if number % 2 else 'owner'} cudaGetLastError" in (memory.parent / "calls").read_text()
    assert list(memory.iterdir()) == []
    assert [_is_gone(pid) for pid in started] == [True] * (number % 2)


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        ({"cudaIpcOpenMemHandle": "die"}, "the second process ended with exit code 3"),
        ({"cudaIpcCloseMemHandle": "die"}, "the second process ended with exit code 3"),
        ({"cudaIpcOpenEventHandle": "hang"}, "the second process did not answer within 1"),
    ],
)
def test_a_second_process_that_dies_or_hangs_is_the_reason(
    act: dict[str, str], expected: str, memory: Path, started: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is ended, and its owner's memory is given back all the same."""
    monkeypatch.setenv("HOST_CUDA_ACTS", json.dumps(act))
    hangs = "hang" in act.values()
    if hangs:
        monkeypatch.setattr("engines.runtime.second_process._PATIENCE_S", 0.2)

    reason = sharing_reason(timeout_s=1.5 if hangs else 60.0)

    assert reason is not None
    assert reason.startswith(expected)
    assert list(memory.iterdir()) == []
    assert [_is_gone(pid) for pid in started] == [True]


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        ("empty", "the second process reads other bytes in the shared memory than the first one wrote"),
        ("copy", "what the second process wrote into the shared memory did not arrive in the first"),
    ],
)
def test_memory_that_is_not_shared_after_all_is_found_out(
    act: str, expected: str, memory: Path, started: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that takes every call and maps something else, or a copy: both ways are compared."""
    monkeypatch.setenv("HOST_CUDA_ACTS", json.dumps({"cudaIpcOpenMemHandle": act}))

    assert sharing_reason() == expected
    assert list(memory.iterdir()) == []
    assert [_is_gone(pid) for pid in started] == [True]


def test_a_gpu_that_cannot_be_reached_is_named(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Indices differ between processes; PCI addresses do not."""
    monkeypatch.setenv("HOST_CUDA_FOREIGN", "0000:3b:00.0")
    _refuse(monkeypatch, cudaIpcOpenMemHandle=217)

    reason = sharing_reason()

    assert reason is not None
    assert reason.startswith("memory of the GPU at 0000:18:00.0, opened on the one at 0000:3b:00.0: cudaIpcOpen")
    assert "cudaErrorPeerAccessUnsupported" in reason
    assert list(memory.iterdir()) == []


def test_no_process_is_started_where_the_answer_is_known(
    memory: Path, started: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No driver, no IPC by the device's own word, no cuda-bindings: one line each."""
    _refuse(monkeypatch, cudaDeviceGetAttribute=1)
    by_its_word = sharing_reason()
    monkeypatch.setattr(device_module.importlib, "import_module", _missing)
    without_bindings = sharing_reason()
    monkeypatch.setattr(sharing_probe, "nvidia_reason", lambda: "no NVIDIA driver")
    without_driver = sharing_reason()

    assert by_its_word is not None
    assert by_its_word.startswith("the GPU says that it has no CUDA IPC")
    assert without_bindings is not None
    assert without_bindings.startswith("CUDA IPC needs cuda-bindings: pip install 'segstream[cuda]'")
    assert without_driver == "no NVIDIA driver"
    assert started == []


def test_bindings_without_their_libraries_are_missing_too(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They raise what Python does not mean by an import that failed."""

    def fail(name: str) -> None:
        raise RuntimeError("no libcudart")

    monkeypatch.setattr(device_module.importlib, "import_module", fail)

    with pytest.raises(BackendUnavailable, match=r"needs cuda-bindings.*no libcudart"):
        SharingDevice()


@pytest.mark.usefixtures("memory")
def test_only_memory_that_was_allocated_for_it_has_a_handle() -> None:
    """A piece of a pool is refused before CUDA is asked, since CUDA might hand out the whole pool."""
    device = SharingDevice()
    buffer = device.allocate(BLOCK_BYTES + 1)
    piece = DeviceBuffer(buffer.address + 512, 100, lambda: None)

    with pytest.raises(EngineError, match=r"cannot be shared: it is of a pool.*SharingDevice\.allocate"):
        device.handle(piece)
    with pytest.raises(EngineError, match="8 bytes from 2097146 on are not in a buffer of 2097153 bytes"):
        device.handle(buffer, BLOCK_BYTES - 6, 8)
    buffer.free()
    with pytest.raises(EngineError, match="cannot be shared"):
        device.handle(buffer)


def test_whole_blocks_are_shared_and_parts_of_them_named(memory: Path) -> None:
    """A handle travels as JSON or pickled, and has the part; the allocation fills whole blocks."""
    device = SharingDevice()
    buffer = device.allocate(BLOCK_BYTES + 1)

    handle = device.handle(buffer, 4096, 10)

    sizes = [path.stat().st_size for path in memory.iterdir()]
    assert sizes == [2 * BLOCK_BYTES]
    assert buffer.n_bytes == BLOCK_BYTES + 1
    assert (len(handle.reserved), handle.offset, handle.n_bytes, handle.gpu) == (64, 4096, 10, "0000:18:00.0")
    assert MemoryHandle.from_json(json.loads(json.dumps(handle.to_json()))) == handle
    assert pickle.loads(pickle.dumps(handle)) == handle
    buffer.free()


def test_what_was_opened_twice_is_closed_twice(memory: Path) -> None:
    """CUDA counts: the second buffer stays good when the first is closed, and a second `free` does nothing."""
    device = SharingDevice()
    with SecondProcess(f"{__name__}:{lend.__name__}") as second:
        handle = MemoryHandle.from_json(second.receive(60))
        whole, part = device.opened(handle), device.opened(MemoryHandle(handle.reserved, 1, 3, handle.gpu))
        seen = np.zeros(3, np.uint8)

        whole.free()
        whole.free()
        device.download(seen, part)
        part.free()

        second.send({})
        second.receive(60)
    assert seen.tolist() == [11, 12, 13]
    assert list(memory.iterdir()) == []


def test_a_mark_that_cannot_be_shared_is_given_back(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was made before its handle was refused."""
    _refuse(monkeypatch, cudaIpcGetEventHandle=801)

    with pytest.raises(EngineError, match="cudaErrorNotSupported"):
        SharingDevice().shared_mark()
    assert list(memory.iterdir()) == []


def lend(line: Line) -> None:
    """A second process that owns memory, as long as the first one needs it."""
    device = SharingDevice()
    buffer = device.allocate(4)
    device.upload(buffer, np.arange(10, 14, dtype=np.uint8))
    line.send(device.handle(buffer).to_json())
    line.receive()
    buffer.free()
    line.send({})
