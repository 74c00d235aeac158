"""Every label map as a PNG of one channel, the value of a pixel its class: what `engines train` reads as masks.

With `frames:` of the effect `none` beside it a clip becomes a folder of pictures and masks. The trap: the
pictures look black in a viewer, for their values are 0, 1, 2, ...; whoever wants to look takes `overlay`.
"""

from pydantic import Field

from pipeline.errors import SinkError
from pipeline.frame import StreamFormat
from pipeline.sinks.frames import FramesSink, folder_for_pictures
from pipeline.sinks.sink import Announce, Shown, Sink, SinkOptions

__all__ = ["MasksOptions", "MasksSink"]


class MasksOptions(SinkOptions):
    """Write every frame's label map as an 8 bit PNG of class indices, named by its sequence number."""

    VALUE = "folder"

    folder: str = Field(min_length=1)
    """Where the label maps go; made if it is not there."""
    compression: int = Field(1, ge=0, le=9)
    """PNG's level: 1 is fast, 9 is small."""

    def open(self, format: StreamFormat, *, pacing: str, announce: Announce) -> Sink:
        """Make the folder.

        Raises:
            SinkError: it cannot be made or written to; the message says what would help.
        """
        return MasksSink(folder_for_pictures(self.folder, announce), self.compression)


class MasksSink(FramesSink):
    """The label map at frame size: of an engine with two classes, its alpha above a half."""

    needs_matte = True

    def accept(self, shown: Shown) -> None:
        if shown.matte is None:
            raise SinkError(f"frame {shown.sequence} came without its matte")
        self._write(shown.sequence, shown.matte.labels)
