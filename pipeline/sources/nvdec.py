"""The pictures of one video stream: decoded by NVDEC as long as that works, and by the processor from then on.

The container is opened and its first picture decoded by the processor, always; only then a decoder on the GPU is tried.
So whatever it says, the stream goes on. The trap: a decoder begins at a key frame. Packets since a key frame are kept,
and whoever takes over decodes them again and keeps quiet until he is where the other one was.

Pictures are brought to the host (NV12 mostly) and take the way of all others. Not yet run on a GPU: changing over is
tested with decoders that act as if.
"""

from collections.abc import Callable
from typing import Any, Literal

from engines.machine import nvidia_reason

__all__ = ["AUTO_FROM_PIXELS", "Hwaccel", "NvdecUnavailable", "PacketDecoder", "nvdec_reason", "open_nvdec"]

Hwaccel = Literal["auto", "cuda", "none"]

AUTO_FROM_PIXELS = 1920 * 1080
"""`auto` leaves smaller pictures to the processor. On a GPU 1080p took 0.7 of the processor's time and 480x270 almost
six times as much, in the figures of others (meta-pytorch/torchcodec, issues 242 and 344)."""
REORDERED = 32
"""Packets that a decoder may hold back at most: 16 pictures by H.264 and HEVC, as many again for good measure."""
MAX_KEPT = 1000
"""Packets. A stream with more between two key frames starts again at the next one when its decoder changes."""
MAX_DAMAGED = 10
"""Packets in a row that hardware may call damaged before it is not believed any more."""


class NvdecUnavailable(Exception):
    """Why not."""


def nvdec_reason(codec: str = "h264") -> str | None:
    """Why NVDEC cannot decode this codec here, None when a decoder opens. Without a driver it costs nothing to ask.

    Args:
        codec: the format as FFmpeg calls it: `h264`, `hevc`, `av1`.
    """
    try:
        _opened(codec)
    except NvdecUnavailable as error:
        return str(error)
    return None


def open_nvdec(software: Any) -> Any:
    """A decoder on the GPU for what a decoder of the processor (`av.VideoCodecContext`) is set up for.

    Raises:
        NvdecUnavailable: no driver, a PyAV without it, a codec that NVDEC does not know, or FFmpeg refuses.
    """
    decoder = _opened(software.codec.canonical_name)
    decoder.extradata = software.extradata
    decoder.options = dict(software.options)
    return decoder


class PacketDecoder:
    """Packets in, pictures out, in the order in which they are to be shown.

    Args:
        software: the stream's own codec context; it decodes until `use_hardware`.
        on_software: called with the reason when hardware failed in mid-stream.
    """

    def __init__(self, software: Any, on_software: Callable[[str], None]) -> None:
        self._software = software
        self._hardware: Any = None
        self._on_software = on_software
        self._is_keeping = True
        self._kept: list[Any] | None = []
        """Packets from a key frame on; None: there were too many."""
        self._again: list[Any] = []
        """To be decoded once more, before the next packet."""
        self._n_known = 0
        """Pictures at most that come once more by that."""
        self._ready: list[Any] = []
        """Pictures that came by that and are new."""
        self._awaits_key = False
        self._last_pts: int | None = None
        self._n_damaged = 0

    @property
    def is_hardware(self) -> bool:
        """Whether the next picture is decoded on the GPU."""
        return self._hardware is not None

    def decode(self, packet: Any) -> list[Any]:
        """The pictures (`av.VideoFrame`) that are ready after this packet.

        Raises:
            av.error.InvalidDataError: the packet is damaged.
            av.error.FFmpegError: the processor's decoder failed.
        """
        from av.error import FFmpegError, InvalidDataError

        self._keep(packet)
        if self._hardware is None:
            return self._pictures(self._software, packet)
        try:
            pictures = self._pictures(self._hardware, packet)
        except InvalidDataError as error:
            self._n_damaged += 1
            if self._n_damaged < MAX_DAMAGED:
                raise
            self._give_up(packet, error)
        except (FFmpegError, MemoryError, RuntimeError) as error:  # whatever a driver that goes away looks like
            self._give_up(packet, error)
        else:
            self._n_damaged = 0
            return pictures
        return self._pictures(self._software, packet)

    def use_hardware(self, decoder: Any) -> None:
        """Let this decoder go on from here."""
        self._hardware = decoder
        self._change(self._kept)

    def use_software(self) -> None:
        """No hardware will come: packets need not be kept."""
        self._is_keeping, self._kept = False, []

    def rewind(self) -> None:
        """The container was put back to its beginning, which emptied the processor's decoder."""
        if self._hardware is not None:
            self._hardware.flush_buffers()
        self._kept, self._again, self._ready = [], [], []
        self._n_known, self._last_pts = 0, None

    def _keep(self, packet: Any) -> None:
        if not self._is_keeping or not packet.size:  # an empty one only says that the stream is over
            return
        if packet.is_keyframe:
            kept = self._kept or []
            starts = [at for at, old in enumerate(kept) if old.is_keyframe and len(kept) - at > REORDERED]
            self._kept = kept[starts[-1] :] if starts else kept
        if self._kept is not None:
            self._kept.append(packet)
            if len(self._kept) > MAX_KEPT:
                self._kept = None

    def _give_up(self, packet: Any, why: Exception) -> None:
        self._hardware = None
        self._software.flush_buffers()  # what it holds is from before the GPU took over
        self._change(self._kept and [old for old in self._kept if old is not packet])
        self.use_software()
        self._on_software(_said(why))

    def _change(self, again: list[Any] | None) -> None:
        self._awaits_key = again is None
        self._again = list(again or ())
        self._n_known = len(self._again)

    def _pictures(self, decoder: Any, packet: Any) -> list[Any]:
        from av.error import InvalidDataError

        if self._awaits_key and packet.size and not packet.is_keyframe:
            return []
        self._awaits_key = False
        again, self._again = self._again, []
        for old in again:
            try:
                self._ready += self._new(decoder.decode(old))
            except InvalidDataError:
                continue  # counted when it came for the first time
        pictures = self._new(decoder.decode(packet))
        ready, self._ready = self._ready, []
        return ready + pictures

    def _new(self, pictures: list[Any]) -> list[Any]:
        """Those that no decoder before this one gave."""
        new = [picture for picture in pictures if not self._is_known(picture)]
        if new:
            self._last_pts = new[-1].pts
        return new

    def _is_known(self, picture: Any) -> bool:
        if not self._n_known:
            return False
        self._n_known -= 1
        if picture.pts is not None and self._last_pts is not None and picture.pts <= self._last_pts:
            return True
        self._n_known = 0
        return False


def _opened(codec: str) -> Any:
    """A decoder with a device of its own, not yet set up for a stream."""
    reason = nvidia_reason()
    if reason is not None:
        raise NvdecUnavailable(reason)
    try:
        import av
        from av.codec.hwaccel import HWAccel

        kinds = {config.device_type.name for config in av.Codec(codec, "r").hardware_configs if config.is_supported}
        if "cuda" not in kinds:
            raise NvdecUnavailable(f"this FFmpeg decodes no {codec} by NVDEC")
        # No silent fallback: FFmpeg's would go on with one thread, and nobody would know.
        accel = HWAccel("cuda", allow_software_fallback=False)
        return av.CodecContext.create(codec, "r", hwaccel=accel)
    except (ImportError, OSError, ValueError, TypeError, NotImplementedError) as error:
        raise NvdecUnavailable(f"NVDEC does not open {codec} ({_said(error)})") from error


def _said(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or str(error) or type(error).__name__)
