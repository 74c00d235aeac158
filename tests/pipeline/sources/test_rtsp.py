"""RTSP against a real server on loopback: fresh frames for a slow consumer, causes told apart, coming back.

No test asserts how long something took, except where the time is the behaviour: the age of a frame.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import SourceCause, SourceLost, SourceUnavailable
from pipeline.sources import Grabbed, Source
from pipeline.sources.network import NetworkOptions
from pipeline.sources.synthetic import read_number
from tests.rtsp_server import RtspServer, clock_ms

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def server() -> Iterator[RtspServer]:
    """A camera of 640x360 at 30 a second, painting its clock."""
    with RtspServer() as running:
        yield running


def _options(uri: str, **more: float) -> NetworkOptions:
    return NetworkOptions.model_validate({"uri": uri, **more})


def _age_ms(grabbed: Grabbed) -> int:
    image_bgr = np.empty((360, 640, 3), np.uint8)
    grabbed.copy_into(image_bgr)
    painted_ms = read_number(image_bgr)
    assert painted_ms is not None
    return clock_ms() - painted_ms


def _refusal(uri: str, **more: float) -> SourceUnavailable:
    with pytest.raises(SourceUnavailable) as refused:
        _options(uri, **more).open()
    assert "\n" not in str(refused.value)
    return refused.value


def test_frames_arrive_in_order_and_in_time(server: RtspServer) -> None:
    """Painted clocks rise from frame to frame, and so do the time stamps."""
    source = _options(server.url).open()
    grabbed = [frame for _ in range(20) if (frame := source.grab()) is not None]
    image_bgr = np.empty((360, 640, 3), np.uint8)
    painted_ms, pts_ms = [], []
    for frame in grabbed:
        frame.copy_into(image_bgr)
        number = read_number(image_bgr)
        assert number is not None
        painted_ms.append(number)
        pts_ms.append(frame.pts_ns // 1_000_000)
    source.close()

    assert painted_ms == sorted(set(painted_ms))
    assert pts_ms == sorted(set(pts_ms))
    assert pts_ms[0] == 0
    assert source.format.is_live
    assert (source.format.width, source.format.height, source.format.rate_hz) == (640, 360, 30)
    assert not any(frame.after_gap for frame in grabbed)


def test_a_slow_consumer_sees_fresh_frames(server: RtspServer) -> None:
    """A consumer held to 5 a second, beside a reader that never stops: no frame is older than 350 ms, and none ages."""
    source = _options(server.url).open()
    newest: list[Grabbed] = []

    def read() -> None:
        while (frame := source.grab()) is not None:
            newest[:] = [frame]

    reader = threading.Thread(target=read)
    reader.start()
    ages_ms = []
    for _ in range(20):
        time.sleep(0.2)
        ages_ms.append(_age_ms(newest[0]))
    source.close()
    reader.join(10)

    # The first frames wait for the probing; the bound is for what a person sees.
    assert max(ages_ms[2:]) <= 350
    assert np.median(ages_ms[-8:]) <= np.median(ages_ms[2:10]) + 100


def test_frames_of_a_reader_that_pauses_are_fresh_again(server: RtspServer) -> None:
    """Frames that pile up while nobody reads are dropped, not handed over late."""
    source = _options(server.url).open()
    time.sleep(1.5)

    ages_ms = [_age_ms(frame) for _ in range(8) if (frame := source.grab()) is not None]
    source.close()

    assert max(ages_ms) <= 500
    assert ages_ms[-1] <= 350


def test_a_server_that_is_stopped_and_started_is_found_again(server: RtspServer) -> None:
    """The stream goes on by itself; the gap is marked, time goes on, both events are told."""
    source = _options(server.url).open()
    events: list[str] = []
    source.on_event = lambda what, why: events.append(what)
    before = source.grab()
    assert before is not None

    server.stop()
    threading.Timer(0.5, server.start).start()
    after = source.grab()
    while after is not None and not after.after_gap:
        after = source.grab()
    following = source.grab()

    assert after is not None
    assert following is not None
    assert not following.after_gap
    assert before.pts_ns < after.pts_ns < following.pts_ns
    assert _age_ms(following) <= 1000
    assert events == ["source lost", "source back"]
    source.close()


def test_a_server_that_goes_silent_is_lost(server: RtspServer) -> None:
    """An open connection without frames is noticed by the watchdog, with its cause."""
    source = _options(server.url, read_timeout_s=0.5, reconnect_for_s=0).open()
    assert source.grab() is not None
    server.freeze()

    with pytest.raises(SourceLost) as lost:
        _read_on(source)

    assert lost.value.cause is SourceCause.TIMED_OUT
    source.close()


def test_a_server_that_is_killed_is_lost(server: RtspServer) -> None:
    """A cut connection is a loss, not a regular end: FFmpeg itself cannot tell."""
    source = _options(server.url, reconnect_for_s=0).open()
    assert source.grab() is not None
    server.stop()

    with pytest.raises(SourceLost):
        _read_on(source)
    source.close()


def _read_on(source: Source) -> None:
    while source.grab() is not None:
        pass


def test_closing_frees_a_waiting_reader(server: RtspServer) -> None:
    """A `grab` that waits for a silent server returns None when another thread closes."""
    source = _options(server.url, read_timeout_s=300).open()
    server.freeze()
    ended = threading.Event()

    def read() -> None:
        _read_on(source)
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    source.close()

    assert ended.wait(20)
    reader.join()


def test_closing_ends_a_reconnect_that_hangs(server: RtspServer) -> None:
    """Also while the new connection is waited for, closing is answered soon."""
    source = _options(server.url, open_timeout_s=300).open()
    server.stop()
    reader = threading.Thread(target=lambda: _read_on(source))
    reader.start()
    with RtspServer(port=server.port, is_mute=True) as mute:
        while not mute.n_accepted:
            time.sleep(0.01)
        source.close()
        reader.join(20)

        assert not reader.is_alive()


def test_nobody_listening_is_refused() -> None:
    """A closed port."""
    with RtspServer() as server:
        url = server.url

    assert _refusal(url).cause is SourceCause.REFUSED


def test_another_path_is_not_found(server: RtspServer) -> None:
    """404 has its own cause, and the remedy speaks of the path."""
    refusal = _refusal(server.url.replace("/live", "/other"))

    assert refusal.cause is SourceCause.NOT_FOUND
    assert "path" in str(refusal)


def test_an_unknown_host_is_not_found() -> None:
    """A name that does not resolve is told as such, not as an input error."""
    refusal = _refusal("rtsp://viewer:hunter2@no-such-host.invalid/live")

    assert refusal.cause is SourceCause.NOT_FOUND
    assert "no-such-host.invalid" in str(refusal)
    assert "hunter2" not in str(refusal)


@pytest.mark.parametrize("login", ["", "admin:wrong@", "admin:p@ss/wrong@"])
def test_a_wrong_or_missing_password_is_told_apart(login: str) -> None:
    """401 has its own cause, and the message does not repeat what was tried."""
    with RtspServer(login="admin:right") as server:
        refusal = _refusal(server.url.replace("rtsp://", f"rtsp://{login}"))

    assert refusal.cause is SourceCause.AUTH
    assert "wrong@" not in str(refusal)
    assert "p@ss" not in str(refusal)


def test_a_password_full_of_signs_opens_the_door() -> None:
    """`@`, `/`, `:` and `%` in a password arrive as they were typed."""
    with RtspServer(login="admin:p@ss/w:d%") as server:
        source = _options(server.url.replace("rtsp://", "rtsp://admin:p@ss/w:d%@")).open()

        assert source.grab() is not None
        assert source.format.source == f"rtsp://admin:***@127.0.0.1:{server.port}/live"
        source.close()


def test_a_server_that_never_answers_times_out() -> None:
    """A port that accepts and stays silent is told apart from everything else."""
    with RtspServer(is_mute=True) as server:
        refusal = _refusal(server.url, open_timeout_s=0.5)

    assert refusal.cause is SourceCause.TIMED_OUT
    assert "open_timeout_s" in str(refusal)


def test_a_process_can_end_while_the_server_hangs(server: RtspServer) -> None:
    """The thread that FFmpeg holds does not keep the process, nor crash its end."""
    script = (
        "import sys\n"
        "from pipeline.sources import source_from_uri\n"
        "source = source_from_uri(sys.argv[1]).open()\n"
        "print('open', flush=True)\n"
        "sys.stdin.read()\n"
        "source.close()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, server.url], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == "open\n"
        server.freeze()
        child.stdin.close()

        assert child.wait(30) == 0
