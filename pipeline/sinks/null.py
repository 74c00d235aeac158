"""The sink that shows nothing, for measuring what comes before it.

Inline: render calls it itself, so no thread takes part in what is measured.
"""

from pipeline.frame import StreamFormat
from pipeline.sinks.sink import Announce, PlainSink, Shown, Sink, SinkOptions

__all__ = ["NullOptions", "NullSink"]


class NullOptions(SinkOptions):
    """Show nothing: for measuring."""

    def open(self, format: StreamFormat, *, pacing: str, announce: Announce) -> Sink:
        return NullSink()


class NullSink(PlainSink):
    """Accepts every frame at once."""

    inline = True
    needs_picture = False

    def accept(self, shown: Shown) -> None:
        pass
