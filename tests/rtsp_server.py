"""A real RTSP server on loopback: RTP interleaved in TCP, H.264 encoded live.

Every frame carries the server's `monotonic` clock in milliseconds, painted as a number, so the age of a frame
is known wherever it is read on this machine. `python -m tests.rtsp_server --port 8554` serves until Ctrl-C.
"""

import argparse
import base64
import contextlib
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from types import TracebackType
from typing import Self

import av
import numpy as np

from pipeline.sources.synthetic import paint_number

PAYLOAD_BYTES = 1400


def clock_ms() -> int:
    """What is painted: milliseconds of the system-wide monotonic clock."""
    return time.monotonic_ns() // 1_000_000 & 0xFFFFFFFF


class RtspServer:
    """Serves `/live`. `stop` and `start` again on the same port; `freeze` keeps connections and goes silent.

    Args:
        login: `user:password` that clients must send (Basic), or "".
        is_mute: accept connections and never answer.
    """

    def __init__(
        self,
        width: int = 640,
        height: int = 360,
        rate_hz: int = 30,
        port: int = 0,
        login: str = "",
        is_mute: bool = False,
    ) -> None:
        self.width, self.height, self.rate_hz = width, height, rate_hz
        self.port, self.login, self.is_mute = port, login, is_mute
        self.n_sent = 0
        self.n_accepted = 0
        self._frozen = threading.Event()
        self._stopping = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/live"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        self._stopping.clear()
        self._frozen.clear()
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._sockets = [listener]
        self._run(self._accept, listener)

    def stop(self) -> None:
        """As if killed: every connection is cut."""
        self._stopping.set()
        for each in list(self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(timeout=5)
        self._threads = []

    def freeze(self) -> None:
        self._frozen.set()

    def thaw(self) -> None:
        self._frozen.clear()

    def _run(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets.append(client)
            self.n_accepted += 1
            if not self.is_mute:
                self._run(self._talk, client)

    def _talk(self, client: socket.socket) -> None:
        encoder = self._encoder()
        lock = threading.Lock()
        gone = threading.Event()
        try:
            for method, url, headers in _requests(client):
                with lock:
                    client.sendall(self._answer(method, url, headers, encoder))
                if method == "PLAY":
                    self._run(self._play, client, encoder, lock, gone)
                if method == "TEARDOWN":
                    break
        except OSError:
            pass
        finally:
            gone.set()
            client.close()

    def _answer(self, method: str, url: str, headers: dict[str, str], encoder: "av.VideoCodecContext") -> bytes:
        head = [f"CSeq: {headers.get('cseq', '0')}"]
        body = ""
        status = "200 OK"
        expected = "Basic " + base64.b64encode(self.login.encode()).decode()
        if method == "OPTIONS":
            head.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER")
        elif self.login and headers.get("authorization") != expected:
            status = "401 Unauthorized"
            head.append('WWW-Authenticate: Basic realm="camera"')
        elif not re.match(r"rtsp://[^/]+/live(/|$)", url):
            status = "404 Not Found"
        elif method == "DESCRIBE":
            sets = ",".join(base64.b64encode(nal).decode() for nal in _nals(encoder.extradata or b""))
            body = (
                "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=live\r\nt=0 0\r\n"
                "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
                f"a=fmtp:96 packetization-mode=1;sprop-parameter-sets={sets}\r\na=framerate:{self.rate_hz}\r\n"
                "a=control:track1\r\n"
            )
            head += ["Content-Type: application/sdp", f"Content-Base: {url}/"]
        elif method == "SETUP":
            head += ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1"]
        else:
            head.append("Session: 1")
        head.append(f"Content-Length: {len(body)}")
        return ("RTSP/1.0 " + status + "\r\n" + "\r\n".join(head) + "\r\n\r\n" + body).encode()

    def _encoder(self) -> "av.VideoCodecContext":
        encoder = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height, encoder.pix_fmt = self.width, self.height, "yuv420p"
        encoder.time_base = Fraction(1, 90_000)
        encoder.framerate = Fraction(self.rate_hz)
        encoder.thread_count = 1
        encoder.flags |= av.codec.context.Flags.global_header
        encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "20", "g": str(self.rate_hz)}
        encoder.open()
        return encoder

    def _play(
        self, client: socket.socket, encoder: "av.VideoCodecContext", lock: threading.Lock, gone: threading.Event
    ) -> None:
        texture = np.random.default_rng(7).integers(60, 180, (self.height, self.width, 3), np.uint8)
        picture = np.empty_like(texture)
        sequence = 0
        started_s = time.monotonic()
        n_frames = 0
        while not (gone.is_set() or self._stopping.is_set()):
            n_frames += 1
            time.sleep(max(0.0, started_s + n_frames / self.rate_hz - time.monotonic()))
            if self._frozen.is_set():
                continue
            picture[...] = 120
            picture[-self.height // 4 :] = np.roll(texture[-self.height // 4 :], 4 * n_frames, axis=1)
            paint_number(picture, clock_ms())
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts = round(n_frames * 90_000 / self.rate_hz)
            frame.time_base = Fraction(1, 90_000)
            for packet in encoder.encode(frame):
                try:
                    sequence = self._send(client, lock, bytes(packet), frame.pts, sequence)
                except OSError:
                    return
            self.n_sent += 1

    def _send(self, client: socket.socket, lock: threading.Lock, packet: bytes, pts: int, sequence: int) -> int:
        payloads = [part for nal in _nals(packet) for part in _fragments(nal)]
        chunks = []
        for index, payload in enumerate(payloads):
            is_last = index == len(payloads) - 1
            rtp = struct.pack(">BBHII", 0x80, 96 | is_last << 7, sequence & 0xFFFF, pts & 0xFFFFFFFF, 0x5E65)
            chunks.append(struct.pack(">cBH", b"$", 0, len(rtp) + len(payload)) + rtp + payload)
            sequence += 1
        with lock:
            client.sendall(b"".join(chunks))
        return sequence


def _requests(client: socket.socket) -> Iterator[tuple[str, str, dict[str, str]]]:
    buffer = b""
    while True:
        while buffer[:1] == b"$" and len(buffer) >= 4 and len(buffer) >= 4 + struct.unpack(">H", buffer[2:4])[0]:
            buffer = buffer[4 + struct.unpack(">H", buffer[2:4])[0] :]  # the client's RTCP
        if buffer[:1] != b"$" and b"\r\n\r\n" in buffer:
            text, _, buffer = buffer.partition(b"\r\n\r\n")
            first, *lines = text.decode("utf-8", "replace").split("\r\n")
            pairs = (line.partition(":") for line in lines)
            method, url, _ = (first + "  ").split(" ", 2)
            yield method, url, {key.strip().lower(): value.strip() for key, _, value in pairs}
            continue
        piece = client.recv(65536)
        if not piece:
            return
        buffer += piece


def _nals(stream: bytes) -> list[bytes]:
    """Split Annex B at its start codes."""
    return [part.rstrip(b"\x00") for part in re.split(b"\x00\x00\x01", stream) if part.strip(b"\x00")]


def _fragments(nal: bytes) -> Iterator[bytes]:
    """RFC 6184: a NAL unit as it is, or cut into FU-A."""
    if len(nal) <= PAYLOAD_BYTES:
        yield nal
        return
    indicator, kind, rest = nal[0] & 0xE0 | 28, nal[0] & 0x1F, nal[1:]
    for at in range(0, len(rest), PAYLOAD_BYTES):
        start, end = (at == 0) << 7, (at + PAYLOAD_BYTES >= len(rest)) << 6
        yield bytes((indicator, start | end | kind)) + rest[at : at + PAYLOAD_BYTES]


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Serve painted frames over RTSP on loopback.")
    parser.add_argument("--port", type=int, default=8554)
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--login", default="", help="user:password that clients must send")
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    with RtspServer(width, height, port=options.port, login=options.login) as server:
        print(server.url, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
