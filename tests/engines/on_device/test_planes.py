"""Frames that stay on a device, on the CPU with interpreted kernels: the planes beside the host's."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from engines.errors import DeviceLost, EngineError
from engines.geometry import fit
from engines.geometry import resize_into as resize_on_host
from engines.on_device.lanes import HostLanes
from engines.on_device.planes import DevicePlanes, Seat
from engines.runtime import Engine, open_engine
from engines.runtime.resident import Resident
from engines.spec import INPUT_NAME
from tests.engines.runtime.graphs import write_engine

pytestmark = pytest.mark.torch

HEIGHT, WIDTH = 50, 90


class Late(HostLanes):
    """Queues like a GPU: nothing is downloaded before a mark is waited for."""

    def __init__(self) -> None:
        self.waiting: list[tuple[np.ndarray, torch.Tensor]] = []

    def download(self, array: np.ndarray, tensor: torch.Tensor) -> None:
        self.waiting.append((array, tensor))

    def mark(self) -> "Late":
        return self

    def is_done(self) -> bool:
        return not self.waiting

    def wait(self) -> None:
        while self.waiting:
            super().download(*self.waiting.pop(0))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """64x32, by torch, opened for its logits alone, as a fused worker opens it."""
    path = write_engine(tmp_path / "tiny")
    with open_engine(str(path), backend="torch_cpu", lent_outputs=("logits",), n_threads=1) as opened:
        yield opened


def _planes(engine: Engine, lanes: HostLanes | None = None) -> DevicePlanes:
    resident = engine.resident()
    assert resident is not None
    return DevicePlanes(resident, engine.spec, lanes)


def _picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def _read(seat: Seat, name: str, shape: tuple[int, ...], dtype: str = "uint8") -> np.ndarray:
    array = np.full(shape, 77, dtype)
    seat.bring(name, array)
    return array


def test_planes_are_the_hosts(engine: Engine) -> None:
    """Resized to one level; logits are the network's of that very tensor; masks are the served graph's rule."""
    image_bgr, spec = _picture(), engine.spec
    planes = _planes(engine)
    geometry = fit(HEIGHT, WIDTH, spec.input)

    seat = planes.take(image_bgr, geometry)
    planes.infer(seat, ("logits", "alpha", "labels"))

    size = (spec.input.height, spec.input.width)
    tensor_bgr = _read(seat, "tensor_bgr", (*size, 3))
    on_host = np.empty_like(tensor_bgr)
    resize_on_host(image_bgr, geometry, on_host)
    assert np.abs(tensor_bgr.astype(int) - on_host).max() <= 1
    shape = spec.output_shape("logits")
    logits = np.empty(shape, np.float32)
    engine.infer({INPUT_NAME: tensor_bgr[None]}, {"logits": logits})
    assert np.array_equal(_read(seat, "logits", shape[1:], "float32"), logits[0])
    large = torch.nn.functional.interpolate(torch.from_numpy(logits), scale_factor=4, mode="bilinear")[0]
    assert np.array_equal(_read(seat, "labels", size), large.argmax(0).numpy())
    alpha = _read(seat, "alpha", size).astype(int)
    assert np.abs(alpha - 255 * torch.sigmoid(large[1] - large[0]).numpy()).max() <= 1


def test_the_host_gets_what_it_asks_for_and_only_that(engine: Engine) -> None:
    """A plane that was not written there leaves the slot alone; one that was comes once, when it is waited for."""
    lanes = Late()
    planes = _planes(engine, lanes)
    seat = planes.take(_picture(), fit(HEIGHT, WIDTH, engine.spec.input))
    planes.infer(seat, ("alpha",))

    assert not lanes.waiting
    assert (_read(seat, "labels", (4, 4)) == 77).all()
    early = np.full((engine.spec.input.height, engine.spec.input.width), 77, np.uint8)
    planes.fetch(seat, "alpha", early)
    planes.finish(seat)
    assert (early == 77).all()
    assert not seat.is_done
    seat.bring("alpha", early)
    assert (early != 77).any()
    assert seat.is_done
    seat.leave("alpha")
    planes.give_back(seat)
    assert not seat.has("alpha")


def test_a_seat_is_used_again_and_knows_nothing_of_the_frame_before(engine: Engine) -> None:
    """Its memory is the same, its planes are the new frame's; two at once have two."""
    planes = _planes(engine)
    geometry = fit(HEIGHT, WIDTH, engine.spec.input)
    first = planes.take(_picture(1), geometry)
    second = planes.take(_picture(2), geometry)
    assert first is not second
    planes.infer(first, ("alpha",))
    planes.give_back(first)

    again = planes.take(_picture(3), geometry)

    assert again is first
    assert not again.has("alpha")
    assert np.array_equal(again.tensors["image_bgr"].numpy(), _picture(3))
    planes.close()


def test_faults_are_told_as_ours(engine: Engine) -> None:
    """What torch raises names the engine; what means the loss of the GPU is a DeviceLost."""
    lent = engine.resident()
    assert lent is not None

    def broken() -> None:
        raise RuntimeError("no kernel\n  found")

    for lost, kind in ((lambda error: None, EngineError), (lambda error: DeviceLost("gone"), DeviceLost)):
        planes = DevicePlanes(Resident(lent.device, lent.buffers, broken, lost), engine.spec)
        seat = planes.take(_picture(), fit(HEIGHT, WIDTH, engine.spec.input))
        with pytest.raises(kind, match="no kernel found" if kind is EngineError else "gone"):
            planes.infer(seat, ("alpha",))


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_gpu_that_is_lost_is_not_touched_when_planes_are_closed(engine: Engine, is_lost: bool) -> None:
    """Waiting for it might never return; after any other error closing waits as always."""
    lent, lanes = engine.resident(), Late()
    assert lent is not None

    def broken() -> None:
        raise RuntimeError("something")

    resident = Resident(lent.device, lent.buffers, broken, lambda error: DeviceLost("gone") if is_lost else None)
    planes = DevicePlanes(resident, engine.spec, lanes)
    seat = planes.take(_picture(), fit(HEIGHT, WIDTH, engine.spec.input))
    planes.fetch(seat, "tensor_bgr", np.zeros((engine.spec.input.height, engine.spec.input.width, 3), np.uint8))
    with pytest.raises(EngineError):
        planes.infer(seat, ("alpha",))

    planes.close()

    assert bool(lanes.waiting) is is_lost


def test_an_engine_lends_only_while_it_is_open(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """And on the CPU only where kernels are interpreted."""
    assert engine.outputs == ("logits",)
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    assert engine.resident() is None
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    engine.__exit__(None, None, None)
    assert engine.resident() is None
    engine.__enter__()
