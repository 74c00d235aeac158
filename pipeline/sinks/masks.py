"""Every label map as a PNG of one channel, the value of a pixel its class: what `engines train` reads as masks.

With `frames:` of the effect `none` beside it a clip becomes a folder of pictures and masks. The trap: the
pictures look black in a viewer, for their values are 0, 1, 2, ...; whoever wants to look takes `overlay`.
"""

from pipeline.errors import SinkError
from pipeline.frame import StreamFormat
from pipeline.sinks.frames import FramesOptions, FramesSink, folder_for_pictures
from pipeline.sinks.sink import Announce, Shown, Sink

__all__ = ["MasksOptions", "MasksSink"]


class MasksOptions(FramesOptions):
    """Write every frame's label map as an 8 bit PNG of class indices, named by its sequence number."""

    def open(self, format: StreamFormat, *, pacing: str, announce: Announce) -> Sink:
        """Make the folder; see `FramesOptions`."""
        return MasksSink(folder_for_pictures(self.folder, announce), self.compression)


class MasksSink(FramesSink):
    """The label map at frame size: of an engine with two classes, its alpha above a half."""

    needs_matte = True

    def accept(self, shown: Shown) -> None:
        if shown.matte is None:
            raise SinkError(f"frame {shown.sequence} came without its matte")
        self._write(shown.sequence, shown.matte.labels)
