"""The sink that shows nothing."""

from pipeline.sinks import sink_from_text
from tests.pipeline.sinks import feed


def test_null_takes_every_frame_in_the_caller_s_thread() -> None:
    """It is inline, needs no matte, asks for nothing, and can be closed twice."""
    sink = sink_from_text("null").open(feed.stream_format(), pacing="lossless", announce=feed.ignore)

    for number in range(1, 4):
        sink.accept(feed.shown(number))
    sink.update({"fps": 25.0})
    sink.close()
    sink.close()

    assert sink.inline
    assert not sink.needs_matte
    assert sink.commands() == []
