"""Links over real ZeroMQ sockets."""

import os
import stat
import time

import pytest

from pipeline.errors import WireError
from pipeline.frame import Ticket
from pipeline.link import (
    Bell,
    ControlIn,
    ControlOut,
    Inlet,
    Outlet,
    StatusIn,
    StatusOut,
    Waiter,
    context,
    make_socket_folder,
    remove_socket_folder,
)


@pytest.fixture
def folder():
    """A folder for sockets."""
    folder = make_socket_folder()
    yield folder
    remove_socket_folder(folder)


@pytest.fixture
def ctx():
    """A context that must be ended without a link left open."""
    ctx = context()
    yield ctx
    ctx.term()


@pytest.fixture
def opened():
    """Collects the links of a test and closes them before the context is ended."""
    links = []
    yield lambda link: links.append(link) or link
    for link in links:
        link.close()


def _arrive(take, n, timeout_s=5.0):
    got = []
    deadline = time.monotonic() + timeout_s
    while len(got) < n and time.monotonic() < deadline:
        got += take()
        time.sleep(0.002)
    return got


def test_tickets_arrive_in_order(ctx, folder, opened) -> None:
    """An inlet gives what its outlets sent, oldest first."""
    inlet = opened(Inlet(ctx, folder, "a"))
    outlet = opened(Outlet(ctx, inlet.endpoint))
    sent = [Ticket(n % 6, n, n, n) for n in range(100)]
    for ticket in sent:
        outlet.send(ticket)

    assert _arrive(inlet.take, 100) == sent


def test_a_foreign_message_is_refused(ctx, folder, opened) -> None:
    """Whatever is not a ticket of ours raises WireError and is never interpreted."""
    inlet = opened(Inlet(ctx, folder, "a"))
    outlet = opened(Outlet(ctx, inlet.endpoint))
    outlet.socket.send(b"\x80\x04 something pickled")

    with pytest.raises(WireError, match="bytes, expected"):
        _arrive(inlet.take, 1)


def test_control_waits_for_its_listeners(ctx, folder, opened) -> None:
    """Who listens is known before anything is said, so the first word is not lost."""
    control = opened(ControlOut(ctx, folder))
    ears = [opened(ControlIn(ctx, control.endpoint, f"w{n}#1")) for n in range(3)]

    assert sorted(_arrive(control.listeners, 3)) == ["w0#1", "w1#1", "w2#1"]
    control.send({"type": "stop"})

    for ear in ears:
        assert _arrive(ear.take, 1) == [{"type": "stop"}]


def test_status_must_be_a_json_object(ctx, folder, opened) -> None:
    """Lists, numbers and rubbish are refused by name."""
    status = opened(StatusIn(ctx, folder))
    worker = opened(StatusOut(ctx, status.endpoint))
    worker.send({"type": "beat"})
    assert _arrive(status.take, 1) == [{"type": "beat"}]

    worker.socket.send(b"[1]")
    with pytest.raises(WireError, match="list"):
        _arrive(status.take, 1)


def test_only_this_user_can_enter_the_folder(folder) -> None:
    """Sockets stand in a folder with mode 0700."""
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_folders_of_dead_runs_are_swept(folder) -> None:
    """A run that was killed leaves its folder; the next run removes it."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    left = folder.parent / f"segstream-{pid}-dead"
    left.mkdir()

    remove_socket_folder(make_socket_folder())

    assert not left.exists()
    assert folder.exists()


def test_a_bell_wakes_a_waiter_once() -> None:
    """Rung many times it is readable, and silent after it was hushed."""
    bell = Bell()
    waiter = Waiter([bell])
    for _ in range(3):
        bell.ring()

    assert waiter.wait(1.0) == {bell.fd}
    bell.hush()
    assert waiter.wait(0.0) == set()
    bell.close()
