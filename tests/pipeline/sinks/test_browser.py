"""The page in a real Chromium: the picture moves, the figures change, the controls command, the end is told.

The trap: Chromium loads what is on loopback in milliseconds, but paints when it likes. Nothing here looks once;
everything waits until it is so.
"""

import re
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.conftest import ROOT
from tests.pipeline.sinks.watched import HEIGHT, N_BITS, NUMBERS, WIDTH, Run, number_in, opened, painted, running, until

LAUNCH = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()

READ_NUMBER = f"""() => {{
  const picture = document.getElementById("picture");
  if (picture.naturalWidth !== {WIDTH}) return -1;
  const canvas = new OffscreenCanvas({WIDTH}, {HEIGHT}), pen = canvas.getContext("2d");
  pen.drawImage(picture, 0, 0);
  const row = pen.getImageData(0, {HEIGHT // 2}, {WIDTH}, 1).data, bar = {WIDTH // N_BITS};
  let number = 0;
  for (let bit = 0; bit < {N_BITS}; bit++) if (row[4 * Math.floor(bar * (bit + .5))] > 127) number += 2 ** bit;
  return number;
}}"""
"""The number painted into the picture that the page shows; -1 while it shows none."""


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """One Chromium for all tests of this module."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=LAUNCH)
        yield browser
        browser.close()


@pytest.fixture
def run() -> Iterator[Run]:
    """A run that shows painted frames and does as the page asks."""
    with running(opened()) as run:
        yield run


@pytest.fixture
def page(browser: Browser, run: Run) -> Iterator[Page]:
    """The page of the run, live; no error may turn up in it."""
    errors: list[str] = []
    page = browser.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(_address(run.sink.port))
    expect(page.locator("body")).to_have_attribute("data-state", "live")
    yield page
    page.close()
    assert errors == []


def _address(port: int) -> str:
    return f"http://127.0.0.1:{port}/"


def _asked(run: Run) -> list[dict[str, Any]]:
    until(lambda: run.commands)
    return run.commands


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_the_picture_moves_forward(page: Page, run: Run) -> None:
    """The numbers painted into what the page shows only grow, and they are those of frames just given."""
    numbers = []
    for _ in range(5):
        before = numbers[-1] if numbers else -1
        page.wait_for_function(f"() => ({READ_NUMBER})() > {before}")
        numbers.append(page.evaluate(READ_NUMBER))
    newest = run.sink.state()["sequence"]

    assert numbers == sorted(set(numbers))
    assert newest - numbers[-1] < 30  # half a second; a picture behind a full buffer would lag by hundreds


def test_the_figures_follow_the_run(page: Page, run: Run) -> None:
    """Rate, percentiles, counts and drops by cause are those of the last update; causes with nothing are left out."""
    expect(page.locator("#fps")).to_have_text(re.compile(r"^\d+\.\d$"))
    expect(page.locator("#latency")).to_have_text(re.compile(r"^\d+\.\d$|^\d{3,}$"))
    expect(page.locator("#p50")).to_have_text("22.4")
    expect(page.locator("#p95")).to_have_text("31.2")
    expect(page.locator("#p99")).to_have_text("44.9")
    expect(page.locator("#max")).to_have_text("138")
    expect(page.locator("#flips")).to_have_text("0.12%")
    expect(page.locator("#follows")).to_have_text("97.1%")
    expect(page.locator("#shown")).to_have_text("1,200")
    expect(page.locator("#dropped")).to_have_text("34")
    expect(page.locator("#drops li")).to_have_text(["stale30", "no free slot4"])

    run.numbers = {**run.numbers, "latency_ms": {"p50": 9.0, "p95": 10, "p99": 11, "max": 12.04}}

    expect(page.locator("#p50")).to_have_text("9.0")
    expect(page.locator("#max")).to_have_text("12.0")


def test_the_sparklines_are_drawn(page: Page) -> None:
    """Both lines of the last minute have ink after a few updates."""
    ink = """(id) => {
      const canvas = document.getElementById(id);
      const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height - 3).data;
      return data.some((value, i) => i % 4 === 3 && value > 0);
    }"""

    for name in ("fps-line", "latency-line"):
        page.wait_for_function(f"() => ({ink})('{name}')")


def test_names_are_shown_as_text(browser: Browser) -> None:
    """A source's name is somebody else's text: what looks like HTML in it stays text."""
    source = "<img src=x onerror=alert(1)>.mp4"
    with running(opened(source)) as run:
        run.numbers["frames"] = {"shown": 1, "dropped": {"<b>odd</b>": 3}}
        page = browser.new_page()
        page.goto(_address(run.sink.port))

        expect(page.locator("#source")).to_have_text(f"{source} · {WIDTH}×{HEIGHT}")
        expect(page.locator("#drops li")).to_have_text(["<b>odd</b>3"])
        assert page.locator("#source img").count() == 0
        page.close()


def test_nothing_is_fetched_from_elsewhere(browser: Browser, run: Run) -> None:
    """The page works without a network: it asks its own server alone."""
    asked: list[str] = []
    page = browser.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.goto(_address(run.sink.port))
    expect(page.locator("body")).to_have_attribute("data-state", "live")
    page.wait_for_function(f"() => ({READ_NUMBER})() > 0")

    assert [url for url in asked if not url.startswith((_address(run.sink.port), "data:"))] == []
    page.close()


@pytest.mark.parametrize("width", [360, 390, 1280])
def test_it_fits_a_phone_and_a_desk(page: Page, width: int) -> None:
    """Nothing stands out at the side, and the picture is as wide as there is room."""
    page.set_viewport_size({"width": width, "height": 760})

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = page.locator("#picture").bounding_box()
    assert box is not None
    assert box["width"] > width * 0.65


# --- what a person does -----------------------------------------------------------------------------------------------


def test_an_effect_is_a_click_away(page: Page, run: Run) -> None:
    """The button pressed is the effect of the run; the first one comes back with the value it had."""
    expect(page.locator("#effects button")).to_have_text(["blur", "cutout", "none", "pixelate"])
    expect(page.locator("[data-effect=blur]")).to_have_attribute("aria-pressed", "true")

    page.locator("[data-effect=pixelate]").click()
    until(lambda: run.numbers["effect"] == "pixelate")
    expect(page.locator("[data-effect=pixelate]")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("[data-effect=blur]")).to_have_attribute("aria-pressed", "false")
    page.locator("[data-effect=blur]").click()

    until(lambda: run.numbers["effect"] == "blur:12")
    assert [command["set"] for command in run.commands] == ["effect", "effect"]


def test_strength_engine_and_mask_are_set(page: Page, run: Run) -> None:
    """The slider, the list and the switch each give one command, and then show what the run has."""
    page.locator("#strength").fill("1.5")
    until(lambda: run.numbers["strength"] == 1.5)
    page.locator("#engine").select_option("person@256x256")
    until(lambda: run.numbers["engine"] == "person@256x256")
    page.locator("#mask").uncheck()
    until(lambda: run.numbers["mask"] is False)

    expect(page.locator("#strength-value")).to_have_text("150%")
    expect(page.locator("#engine")).to_have_value("person@256x256")
    assert len(run.commands) == 3

    run.numbers = {**run.numbers, "strength": 0.5, "mask": True}  # somebody else's hand
    expect(page.locator("#strength-value")).to_have_text("50%")
    expect(page.locator("#mask")).to_be_checked()


def test_keys_do_what_the_window_does(page: Page, run: Run) -> None:
    """e, n, m, + and - are the next effect, the next engine, the mask, more and less."""
    for key in ("e", "n", "m", "+"):
        page.keyboard.press(key)
    until(lambda: len(run.commands) == 4)

    assert run.commands == [
        {"set": "effect", "value": "cutout"},
        {"set": "engine", "value": "person@256x256"},
        {"set": "mask", "value": False},
        {"set": "strength", "value": 1.1},
    ]


def test_quit_asks_first(page: Page, run: Run) -> None:
    """A slip of the finger does not end the run for everybody: only the second click does."""
    page.locator("#quit").click()
    page.get_by_text("Keep watching").click()
    expect(page.locator("#confirm")).to_be_hidden()
    page.locator("#quit").click()
    assert run.commands == []
    page.locator("#confirm-quit").click()

    assert _asked(run) == [{"do": "quit"}]


def test_a_snapshot_is_downloaded(page: Page, run: Run, tmp_path: Path) -> None:
    """The file is a PNG of a whole frame without loss, named by its sequence."""
    with page.expect_download() as download:
        page.locator("#snapshot").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)

    image = np.asarray(cv2.imread(str(file)), np.uint8)
    assert np.array_equal(image, painted(number_in(image)))
    assert file.name == f"segstream-{number_in(image):06d}.png"
    assert run.commands == []


def test_a_refusal_is_told(page: Page, run: Run) -> None:
    """When the run refuses a command, the page says why and shows what is really set."""
    run.numbers = {**run.numbers, "effects": [*NUMBERS["effects"], "sparkle"]}  # type: ignore[misc]
    expect(page.locator("[data-effect=sparkle]")).to_be_visible()
    page.locator("[data-effect=sparkle]").click()

    expect(page.locator("#toast")).to_contain_text("sparkle")
    expect(page.locator("[data-effect=blur]")).to_have_attribute("aria-pressed", "true")
    assert run.commands == []


# --- when nothing moves -----------------------------------------------------------------------------------------------


def test_a_hidden_tab_costs_no_encoding(page: Page, run: Run) -> None:
    """Who looks elsewhere lets go of the picture; it is back when they look again."""
    hide = """(isHidden) => {
      Object.defineProperty(document, "hidden", { get: () => isHidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.wait_for_function(f"() => ({READ_NUMBER})() > 0")

    page.evaluate(hide, True)
    until(lambda: not run.sink._web._pictures)
    before, number = run.sink.state()["encoded"], run.sink.state()["sequence"]
    until(lambda: run.sink.state()["sequence"] > number + 30)
    assert run.sink.state()["encoded"] <= before + 1  # one may have been on its way

    page.evaluate(hide, False)
    page.wait_for_function(f"() => ({READ_NUMBER})() > {number}")


def test_a_stream_that_stands_still_is_told(page: Page, run: Run) -> None:
    """While no frame comes, the page says since when, keeps the last picture, and goes on when frames do."""
    page.wait_for_function(f"() => ({READ_NUMBER})() > 0")

    run.is_paused = True

    expect(page.locator("#status")).to_have_text("Waiting")
    expect(page.locator("#banner")).to_have_text(re.compile(r"No new frame for \d+ s"))
    assert page.evaluate(READ_NUMBER) > 0
    with page.expect_download() as download:  # of what is on the screen: no new frame will come
        page.locator("#snapshot").click()
    assert download.value.suggested_filename == f"segstream-{run.sink.state()['sequence']:06d}.png"

    run.is_paused = False
    expect(page.locator("#status")).to_have_text("Live")


def test_the_end_is_told_and_the_next_run_is_joined(page: Page, run: Run) -> None:
    """After a clean end the page says so, keeps the last picture dimmed, and joins the next run at that port."""
    page.wait_for_function(f"() => ({READ_NUMBER})() > 0")

    run.stop()
    run.sink.close()

    expect(page.locator("#status")).to_have_text("Ended")
    expect(page.locator("#veil")).to_contain_text("1,200 frames shown at 29.7 fps")
    expect(page.locator("#quit")).to_be_disabled()
    kept = "document.getElementById('kept')"
    assert page.evaluate(f"{kept}.width") == WIDTH
    assert page.evaluate(
        f"{kept}.getContext('2d').getImageData(0, 0, {WIDTH}, {HEIGHT}).data.some((v, i) => i % 4 < 3 && v)"
    )

    with running(opened("another", run.sink.port)):
        expect(page.locator("#status")).to_have_text("Live", timeout=10_000)
        expect(page.locator("#source")).to_contain_text("another")
        expect(page.locator("#quit")).to_be_enabled()


def test_a_killed_run_is_waited_for(browser: Browser) -> None:
    """A worker that died says no goodbye: the page keeps asking, and the picture comes back with the restarted one."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    page = browser.new_page()
    first = _in_a_process(port)
    try:
        page.goto(_address(port))
        page.wait_for_function(f"() => ({READ_NUMBER})() > 0")

        first.send_signal(signal.SIGKILL)
        first.wait()
        expect(page.locator("#status")).to_have_text("Reconnecting")
        expect(page.locator("#veil-title")).to_have_text("Reconnecting")
    finally:
        first.kill()
        first.communicate()

    second = _in_a_process(port)
    try:
        expect(page.locator("#status")).to_have_text("Live", timeout=10_000)
        page.wait_for_function(f"() => ({READ_NUMBER})() > 0")
    finally:
        second.kill()
        second.communicate()
        page.close()


def _in_a_process(port: int) -> subprocess.Popen[str]:
    code = f"""
        import time
        from tests.pipeline.sinks.watched import opened, running
        with running(opened("camera", {port})):
            print("open", flush=True)
            time.sleep(60)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process
