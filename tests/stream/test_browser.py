"""The page of a whole run in a real browser: a changing picture, changing numbers, controls that work."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
def page(chromium):
    """A page of a fresh browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser.new_page()
        browser.close()


@pytest.fixture
def stream(tmp_path):
    """A run that serves a page; gives its address."""
    command = [sys.executable, str(ROOT / "run_stream.py"), "run", "synthetic:640x360@30", "--engine", "fake@320x180"]
    command += ["--swap", "fake@640x360", "--effect", "cutout:black", "--sink", "browser"]
    log = tmp_path / "log.txt"
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=out, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 30
    while not (found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())):
        assert time.monotonic() < deadline, log.read_text()
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    yield found.group(0), process
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def test_the_page_shows_a_moving_picture_and_controls_it(page, stream) -> None:
    """Picture and numbers change; effect, engine, mask and quit do what they say."""
    url, process = stream
    page.goto(url)
    state = f"{url}/api/state"

    def read() -> dict:
        return page.request.get(state).json()

    def until(condition) -> None:
        deadline = time.monotonic() + 15
        while not condition():
            assert time.monotonic() < deadline, read()
            page.wait_for_timeout(100)

    until(lambda: page.locator("#fps").inner_text() not in ("", "–", "0", "0.0"))
    first = page.locator("#picture").screenshot()
    shown = page.locator("#shown").inner_text()
    until(lambda: page.locator("#picture").screenshot() != first)
    until(lambda: page.locator("#shown").inner_text() != shown)

    page.locator("#effects button", has_text=re.compile("^none$", re.IGNORECASE)).click()
    until(lambda: read()["effect"] == "none")
    page.locator("#engine").select_option("fake@640x360")
    until(lambda: read()["engine"] == "fake@640x360")
    page.locator("#mask").click(force=True)
    until(lambda: read()["mask"] is False)

    page.locator("#quit").click()
    page.locator("#confirm-quit").click()
    assert process.wait(15) == 0
