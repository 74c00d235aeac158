"""Who is let in to the page's server: this machine, and our own page."""

import socket
from collections.abc import Iterator

import pytest

from pipeline.sinks.browser import BrowserSink
from tests.pipeline.sinks.watched import asked, commanded, opened


@pytest.fixture
def sink() -> Iterator[BrowserSink]:
    """Open on a free port, fed by nobody."""
    sink = opened()
    yield sink
    sink.close()


@pytest.mark.parametrize("path", ["/", "/stream.mjpeg", "/snapshot.png", "/api/state", "/api/live"])
def test_another_host_is_refused(sink: BrowserSink, path: str) -> None:
    """A stranger's name that was made to point at this machine opens nothing (DNS rebinding)."""
    for host in ("evil.example", f"evil.example:{sink.port}", "127.0.0.1.evil.example", "127.0.0.1:80@evil.example"):
        answer = asked(sink, path, Host=host)

        assert answer.status == 403, host


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "localhost:9000", "127.0.0.1", "[::1]:9000"])
def test_this_machine_is_let_in(sink: BrowserSink, host: str) -> None:
    """Every name of this machine will do, at another port too: that is what a tunnel looks like."""
    answer = asked(sink, "/api/state", Host=host.format(port=sink.port))

    assert answer.status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:9"])
def test_another_page_gives_no_commands(sink: BrowserSink, origin: str) -> None:
    """A command that comes from another page is refused and not kept."""
    answer = commanded(sink, {"do": "quit"}, Origin=origin.format(port=sink.port))

    assert answer.status == 403
    assert sink.commands() == []


def test_another_page_hears_no_figures(sink: BrowserSink) -> None:
    """A WebSocket may be opened across origins by any page; ours refuses."""
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Version": "13"}
    key = {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ=="}

    answer = asked(sink, "/api/live", **upgrade, **key, Origin="http://evil.example")

    assert answer.status == 403


def test_another_page_shows_no_pictures(sink: BrowserSink) -> None:
    """An <img> of another page sends no Origin, but says that it is of another site; a link to our page is fine."""
    picture = asked(sink, "/stream.mjpeg", Sec_Fetch_Site="cross-site")
    link = asked(sink, "/", Sec_Fetch_Site="cross-site")

    assert picture.status == 403
    assert link.status == 200


def test_only_this_machine_is_served(sink: BrowserSink) -> None:
    """The port is open at 127.0.0.1 and at no other address, not even of the loopback."""
    with socket.socket() as elsewhere:
        assert elsewhere.connect_ex(("127.0.0.2", sink.port)) != 0
    with socket.create_connection(("127.0.0.1", sink.port), timeout=5):
        pass
