"""Page-locked host memory: all of it or none, given up once, nothing asked where there is no driver."""

import pytest

from engines.errors import BackendUnavailable, EngineError
from engines.runtime import page_lock
from engines.runtime.page_lock import PageLock
from tests.engines.runtime.notebook import NotedDevice


class SmallDevice(NotedDevice):
    """Locks one piece and no more."""

    def lock(self, address: int, n_bytes: int) -> None:
        if self.locked:
            raise EngineError("cudaHostRegister: CUDA error 2, out of memory")
        super().lock(address, n_bytes)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> NotedDevice:
    """The one that is found; of another class where a test asks for it."""
    device: NotedDevice = getattr(request, "param", NotedDevice)()
    monkeypatch.setattr(page_lock, "nvidia_reason", lambda: None)
    monkeypatch.setattr(page_lock, "open_device", lambda: device)
    return device


def test_what_was_locked_is_given_up_once(device: NotedDevice) -> None:
    """In the opposite order; then the device goes; a second release does nothing."""
    lock = PageLock()

    lock.lock([(4096, 100), (8192, 200)])
    held = list(device.locked)
    lock.release()
    lock.release()

    assert held == [4096, 8192]
    assert device.notes == ["lock 100", "lock 200", "unlock", "unlock", "close"]


@pytest.mark.parametrize("device", [SmallDevice], indirect=True)
def test_a_refusal_gives_up_the_rest_and_says_how_much_was_wanted(device: NotedDevice) -> None:
    """Half of the slots locked would make some frames slower than others, which nobody could explain."""
    with pytest.raises(EngineError, match=r"3 MB of slots could not be page-locked \(cudaHostRegister: CUDA error 2"):
        PageLock().lock([(4096, 1_000_000), (8192, 2_000_000)])

    assert device.locked == []
    assert device.notes == ["lock 1000000", "unlock", "close"]


def test_a_device_that_gives_nothing_up_is_closed(device: NotedDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends in a moment, and with it the lock."""
    lock = PageLock()
    lock.lock([(4096, 100), (8192, 200)])

    def refuse(address: int) -> None:
        raise EngineError(f"cudaHostUnregister of {address}")

    monkeypatch.setattr(device, "unlock", refuse)
    lock.release()

    assert device.notes[-1] == "close"


def test_without_a_driver_nothing_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search for a device would import torch, which takes seconds."""

    def opened() -> NotedDevice:
        raise AssertionError("not to be opened")

    monkeypatch.setattr(page_lock, "nvidia_reason", lambda: "no NVIDIA driver")
    monkeypatch.setattr(page_lock, "open_device", opened)

    with pytest.raises(BackendUnavailable, match="no NVIDIA driver"):
        PageLock().lock([(4096, 100)])
