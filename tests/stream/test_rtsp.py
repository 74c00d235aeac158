"""A network camera through the whole corridor, with a slow consumer, an outage, and a refusal."""

import threading
import time
from pathlib import Path

import cv2
import numpy as np

from pipeline.sources.synthetic import read_number
from tests.rtsp_server import RtspServer
from tests.stream.playing import CHAIN, FAULTS, play


def _ages_ms(folder: Path) -> list[float]:
    """Age of each picture when it was written: its painted clock against its file's time."""
    offset_s = time.time() - time.monotonic()
    ages = []
    for path in sorted(folder.glob("*.png")):
        painted = read_number(cv2.imread(str(path)))
        if painted is not None:
            written_ms = (path.stat().st_mtime - offset_s) * 1e3
            ages.append(written_ms - painted)
    return ages


def test_a_slow_consumer_sees_fresh_frames(tmp_path) -> None:
    """Five frames a second of thirty are shown for eight seconds: their age neither is large nor grows."""
    stages = (*CHAIN[:3], f"{FAULTS}:Crawl", "render")
    with RtspServer(width=320, height=180) as server:
        played = play(server.url, f"frames:{tmp_path}", stages=stages, effect="none", seconds=8.0)

    ages = _ages_ms(tmp_path)
    assert len(ages) >= 25
    # 200 ms in the slow stage, up to 33 ms until the next camera frame, and a busy machine's slack.
    assert np.median(ages) < 350
    slope_ms_per_frame = np.polyfit(range(len(ages)), ages, 1)[0]
    assert abs(slope_ms_per_frame) < 5
    assert played.frames["dropped"].get("lost", 0) == 0


def test_a_camera_that_goes_away_comes_back(tmp_path) -> None:
    """The server is stopped and started again: the run goes on, says so, and its time stamps keep rising."""
    server = RtspServer(width=320, height=180)
    server.start()
    steps = []

    def watch(supervisor) -> None:
        shown = supervisor.ledgers[0].shown if supervisor.ledgers else 0
        if shown > 30 and not steps:
            steps.append(shown)
            threading.Thread(target=_restart, args=(server,)).start()
        if steps and shown > steps[0] + 90:
            supervisor.drain()

    try:
        played = play(server.url, "null", effect="none", watch=watch, seconds=60.0)
    finally:
        server.stop()

    assert "source lost" in played.events
    assert "source back" in played.events
    assert played.report["restarts"] == 0
    assert played.frames["shown"] > 100


def _restart(server: RtspServer) -> None:
    server.stop()
    time.sleep(1.5)
    server.start()


def test_a_killed_capture_opens_the_camera_again(tmp_path) -> None:
    """The capture worker dies in mid-stream: its successor connects anew, numbers and time go on."""
    killed = []

    def watch(supervisor) -> None:
        if supervisor.ledgers and supervisor.ledgers[0].shown > 30 and not killed:
            killed.append(supervisor.ledgers[0].captured)
            supervisor.crew["capture"].popen.kill()

    with RtspServer(width=320, height=180) as server:
        played = play(server.url, "null", effect="none", watch=watch, max_frames=150)

    assert played.report["restarts"] == 1
    assert played.frames["captured"] == 150
    assert played.frames["shown"] > 100
