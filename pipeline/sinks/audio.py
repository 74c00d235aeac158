"""The source's sound, carried over into the file that is written.

Copied packet by packet where the container takes the codec, else turned into AAC. It follows the picture: a
packet is written once the picture has passed its end, so the sound is never longer than what was shown. The
trap: sound and picture of a file start at different times; both are counted from its first decoded picture,
as the source counts its `pts_ns`.
"""

from collections.abc import Generator
from fractions import Fraction
from pathlib import Path
from typing import Any

__all__ = ["AudioTrack"]

_FITS = {
    ".mp4": frozenset({"aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"}),
    ".mov": frozenset({"aac", "ac3", "alac", "eac3", "mp3", "pcm_s16be", "pcm_s16le", "pcm_s24le"}),
    ".mkv": frozenset({"aac", "ac3", "alac", "dts", "eac3", "flac", "mp3", "opus", "pcm_s16le", "truehd", "vorbis"}),
}
_AAC_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)


class AudioTrack:
    """Reads one audio stream, in the pace at which it is asked."""

    def __init__(self, path: Path, output: Any, suffix: str) -> None:
        """Add an audio stream to `output` (an open `av.container.OutputContainer`, of which nothing is written yet).

        Raises:
            OSError, ValueError: the file cannot be read any more.
            av.error.FFmpegError: it holds no audio that can be carried over.
        """
        import av

        self._output = output
        self._start_s = _first_picture_s(path)
        self._input: Any = av.open(f"file:{path}", metadata_errors="replace")
        try:
            source: Any = self._input.streams.best("audio")
            if source is None or source.codec_context is None:
                raise ValueError("no audio that FFmpeg can decode")
            codec = str(source.codec_context.name)
            # AAC from a transport stream describes itself in each packet, which these containers do not take.
            is_described = codec != "aac" or bool(source.codec_context.extradata)
            self._is_copied = source.codec_context.codec.canonical_name in _FITS[suffix] and is_described
            is_told = not self._is_copied and codec != "aac"
            self.told = f"its {codec} sound becomes AAC, which {suffix} takes" if is_told else ""
            """For people, when something is changed."""
            if self._is_copied:
                self._target = output.add_stream_from_template(source)
            else:
                self._add_encoder(source)
        except BaseException:
            self._input.close()
            raise
        self._pieces = self._read(source)
        self._held: Any = next(self._pieces, None)

    def carry(self, until_s: float, first_ns: int, *, is_last: bool) -> None:
        """Write what ends before `until_s`.

        Args:
            until_s: how far the picture is, counted from the first frame shown.
            first_ns: `pts_ns` of the first frame shown.
            is_last: no more will be asked for.
        """
        offset_s = self._start_s + Fraction(first_ns, 1_000_000_000)
        while self._held is not None:
            begin_s = self._held.pts * self._held.time_base - offset_s
            if begin_s + self._length_s(self._held) > until_s:
                break
            if begin_s >= 0:
                self._write(self._held, begin_s)
            self._held = next(self._pieces, None)
        if is_last and not self._is_copied:
            for frame in self._resampler.resample(None):
                self._output.mux(self._target.encode(frame))
            self._output.mux(self._target.encode(None))

    def close(self) -> None:
        """Let go of the source."""
        self._pieces.close()
        self._input.close()

    def _write(self, piece: Any, begin_s: Fraction) -> None:
        if self._is_copied:
            piece.pts = piece.dts = round(begin_s / piece.time_base)
            piece.stream = self._target
            self._output.mux(piece)
            return
        piece.time_base = Fraction(1, piece.sample_rate)
        piece.pts = round(begin_s * piece.sample_rate)
        for frame in self._resampler.resample(piece):
            self._output.mux(self._target.encode(frame))

    def _read(self, source: Any) -> Generator[Any, None, None]:
        """Packets when copied, else decoded frames; those without a time stamp are left out."""
        from av.error import FFmpegError, InvalidDataError

        packets = self._input.demux(source)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                pieces = [packet] if self._is_copied else packet.decode()
            except InvalidDataError:
                continue  # a damaged packet is a short silence
            except FFmpegError:
                return  # the file is gone; the picture goes on without sound
            for piece in pieces:
                if piece.pts is not None and (not self._is_copied or piece.size):
                    yield piece

    def _length_s(self, piece: Any) -> Fraction:
        if self._is_copied:
            return Fraction(piece.duration or 0) * Fraction(piece.time_base)
        return Fraction(piece.samples, piece.sample_rate)

    def _add_encoder(self, source: Any) -> None:
        from av import AudioResampler

        rate_hz = source.rate if source.rate in _AAC_RATES_HZ else 48_000
        layout = "mono" if source.channels == 1 else "stereo"
        self._target = self._output.add_stream("aac", rate=rate_hz, layout=layout)
        self._target.codec_context.open()
        size = self._target.codec_context.frame_size
        self._resampler = AudioResampler(format="fltp", layout=layout, rate=rate_hz, frame_size=size)


def _first_picture_s(path: Path) -> Fraction:
    import av
    from av.error import FFmpegError

    with av.open(f"file:{path}", metadata_errors="replace") as container:
        videos: list[Any] = sorted(
            container.streams.video, key=lambda s: bool(s.disposition & s.disposition.attached_pic)
        )
        if not videos:
            return Fraction(0)
        try:
            picture: Any = next(container.decode(videos[0]), None)
        except FFmpegError:
            picture = None
        if picture is not None and picture.pts is not None:
            return Fraction(picture.pts) * Fraction(picture.time_base)
        return Fraction(videos[0].start_time or 0) * Fraction(videos[0].time_base)
