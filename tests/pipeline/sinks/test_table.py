"""The sinks' table: what may be typed, and what the answer to a mistake is."""

import pytest

from configs import ConfigError
from pipeline.sinks import SINKS, default_sink, sink_from_text


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("file:out.mp4", "path", "out.mp4"),
        ("file:/some/where/a:b.mkv", "path", "/some/where/a:b.mkv"),
        ("frames:pictures", "folder", "pictures"),
        ("jsonl:out.jsonl", "path", "out.jsonl"),
        ("browser:9000", "port", 9000),
        ("browser", "port", None),
    ],
)
def test_a_text_becomes_options(text: str, field: str, value: object) -> None:
    """What stands behind the first colon sets the sink's value."""
    options = sink_from_text(text)

    assert isinstance(options, SINKS[text.partition(":")[0]])
    assert getattr(options, field) == value


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("windw", "did you mean 'window'"),
        ("out.mp4", "did you mean 'file:out.mp4'"),
        ("", "known: browser"),
        ("file", "write 'file:out.mp4'"),
        ("file:", "write 'file:out.mp4'"),
        ("jsonl", "write 'jsonl:out.jsonl'"),
        ("frames", "write 'frames:pictures'"),
        ("null:3", "takes no value"),
        ("file:out.avi", "ends in '.avi', expected .mp4, .mov or .mkv"),
        ("file:out", "ends in nothing"),
        ("browser:http", "received 'http'"),
        ("browser:70000", "received '70000'"),
    ],
)
def test_a_mistake_is_answered_with_what_to_write(text: str, told: str) -> None:
    """The error repeats what was typed and says what would have been right."""
    with pytest.raises(ConfigError, match=r"^sink ") as caught:
        sink_from_text(text)

    assert told in str(caught.value)
    assert repr(text) in str(caught.value)


def test_a_display_decides_what_a_run_shows_by_itself() -> None:
    """With a display it is the window, without one the browser."""
    assert default_sink({"DISPLAY": ":0"}) == "window"
    assert default_sink({"DISPLAY": ""}) == "browser"
    assert default_sink({"WAYLAND_DISPLAY": "wayland-0"}) == "browser"
