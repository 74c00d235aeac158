"""How work for a GPU is queued: by a `torch.cuda` that takes notes."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from engines.on_device.lanes import CudaLanes
from engines.runtime.device import DeviceBuffer

pytestmark = pytest.mark.torch


class Notes:
    """What was called, and on which stream."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.current = "default"


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> Notes:
    """A GPU that only takes notes; its tensors lie on the host."""
    taken = Notes()

    class Stream:
        def __init__(self, device: Any) -> None:
            self.name = "up"

        def wait_stream(self, other: "Stream") -> None:
            taken.lines.append(f"{self.name} waits for {other.name}")

    class ExternalStream(Stream):
        def __init__(self, handle: int, device: Any) -> None:
            self.name = f"engine {handle}"

    class Event:
        def __init__(self, *, blocking: bool = False) -> None:
            self.how = "asleep" if blocking else "spinning"

        def record(self, stream: Stream) -> None:
            taken.lines.append(f"mark on {stream.name}")

        def query(self) -> bool:
            return False

        def synchronize(self) -> None:
            taken.lines.append(f"waited {self.how}")

    @contextlib.contextmanager
    def stream(on: Stream) -> Iterator[None]:
        before, taken.current = taken.current, on.name
        yield
        taken.current = before

    def copy_(self: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
        taken.lines.append(f"copy on {taken.current}{'' if non_blocking else ', blocking'}")
        return self

    for name, fake in {"Stream": Stream, "ExternalStream": ExternalStream, "Event": Event, "stream": stream}.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.Tensor, "copy_", copy_)
    return taken


def test_pictures_go_up_beside_the_work_and_come_down_behind_it(notes: Notes) -> None:
    """The engine's stream waits for the upload and has downloads and marks; nothing blocks, nothing spins."""
    lanes = CudaLanes(7)
    plane = torch.zeros(4, dtype=torch.uint8)

    lanes.upload(plane, np.zeros(4, np.uint8))
    with lanes.work():
        notes.lines.append(f"network on {notes.current}")
    lanes.download(np.zeros(4, np.uint8), plane)
    mark = lanes.mark()
    assert not mark.is_done()
    mark.wait()

    assert notes.lines == [
        "copy on up", "engine 7 waits for up", "network on engine 7", "copy on engine 7", "mark on engine 7",
        "waited asleep",
    ]  # fmt: skip
    assert lanes.device == torch.device("cuda", 0)


def test_memory_of_any_library_is_seen_as_tensors(notes: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's own buffer as it is; an address of the CUDA runtime by the CUDA Array Interface."""
    own = DeviceBuffer(0, 8, lambda: None)
    own.tensor = torch.arange(8, dtype=torch.uint8)  # type: ignore[attr-defined]
    assert CudaLanes(1).tensor_over(own, (2, 3), torch.uint8).tolist() == [[0, 1, 2], [3, 4, 5]]

    def as_tensor(memory: Any, device: torch.device) -> torch.Tensor:
        told = memory.__cuda_array_interface__
        assert told == {"shape": (16,), "typestr": "|u1", "data": (0x1000, False), "version": 3}
        return torch.zeros(16, dtype=torch.uint8)

    monkeypatch.setattr(torch, "as_tensor", as_tensor)
    other = DeviceBuffer(0x1000, 16, lambda: None)
    assert CudaLanes(1).tensor_over(other, (1, 4), torch.float32).tolist() == [[0.0, 0.0, 0.0, 0.0]]
