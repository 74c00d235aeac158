"""The web server behind the page: one thread with its own event loop, on this machine's loopback only.

Routes: `/` the page, `/stream.mjpeg` the live picture, `/snapshot.png` the next picture without loss, `/api/live`
(WebSocket) the figures twice a second, `/api/state` the same once, `/api/command` (POST) what a person asks for.
The trap: this thread shares the interpreter with render's, so nothing here computes; pictures come encoded.
"""

import asyncio
import json
import socket
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.sinks.guard import HEADERS, refusal, why_refused

if TYPE_CHECKING:
    from aiohttp import web

__all__ = ["WebServer"]

_PAGE = Path(__file__).with_name("page.html")
_STATE_S = 0.5
_STILL_S = 2.0
"""How long a snapshot waits for a frame; a stream that stands still gives none."""
_GOODBYE_S = 0.15
"""What visitors get to hear that the stream has ended; then their connections are cut."""
_ANSWER_S = 0.1
"""Of it, what a page gets to answer a WebSocket's goodbye."""
_MAX_COMMAND_BYTES = 4096
_SEND_BUFFER_BYTES = 262_144
"""Of a picture's connection. The kernel's own choice holds seconds of video for a visitor who reads slowly."""
_BOUNDARY = b"--picture"


class WebServer:
    """Serves until closed. `wants_*` and `give_*` are for the sink's thread, all the rest runs in the loop's."""

    def __init__(
        self, listener: socket.socket, *, state: Callable[[], dict[str, Any]], ask: Callable[[Any], None]
    ) -> None:
        """Start serving on a bound socket, which is closed with the server.

        Args:
            listener: listening already, so that a taken port is found out by whoever made it.
            state: what `/api/state` tells; called in the server's thread.
            ask: takes one command; its CommandRefused is told to the visitor.
        """
        self.wants_picture = False
        self.wants_still = False
        self.failure = ""
        self._listener = listener
        self._state = state
        self._ask = ask
        self._pictures: set[asyncio.Future[bytes]] = set()
        self._stills: set[asyncio.Future[tuple[NDArray[np.uint8], int]]] = set()
        self._visits: dict[asyncio.Task[Any], asyncio.Transport] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Event | None = None
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"browser {listener.getsockname()[1]}", daemon=True)
        # Not waited for: importing aiohttp takes 0.2 s, and the socket keeps early visitors until then.
        self._thread.start()

    def give_picture(self, jpeg: bytes) -> None:
        """To everybody who waits for one."""
        self._in_loop(lambda: _settle(self._pictures, jpeg))

    def give_still(self, image_bgr: NDArray[np.uint8], sequence: int) -> None:
        """To whoever takes a snapshot; the array is theirs."""
        self.wants_still = False
        self._in_loop(lambda: _settle(self._stills, (image_bgr, sequence)))

    def close(self) -> None:
        """Tell the visitors, end their connections and the thread; a second call does nothing."""
        self._is_up.wait()
        self._in_loop(lambda: self._ending.set() if self._ending else None)
        self._thread.join()

    def _in_loop(self, act: Callable[[], None]) -> None:
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(act)
            except RuntimeError:
                pass  # the loop has ended meanwhile, and with it everybody who waited

    # -- the server's thread

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # noqa: BLE001 - told by the sink's next accept
            self.failure = f"{type(error).__name__}: {error}"
        finally:
            self._listener.close()
            self._is_up.set()

    async def _serve(self) -> None:
        from aiohttp import web

        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()

        async def guard(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            return await self._guarded(request, handler)

        app = web.Application(middlewares=[web.middleware(guard)], client_max_size=_MAX_COMMAND_BYTES)
        app.router.add_get("/", self._page)
        app.router.add_get("/stream.mjpeg", self._stream)
        app.router.add_get("/snapshot.png", self._snapshot)
        app.router.add_get("/api/live", self._live)
        app.router.add_get("/api/state", self._tell)
        app.router.add_post("/api/command", self._command)
        runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=_GOODBYE_S)
        await runner.setup()
        await web.SockSite(runner, self._listener).start()
        self._is_up.set()
        try:
            await self._ending.wait()
            # Nobody is let in any more, and who was at the last moment gets to be known to the runner: a server that
            # is closed while asyncio accepts leaves that connection open (seen with CPython 3.11).
            self._loop.remove_reader(self._listener)
            await asyncio.sleep(0.01)
            _fail(self._pictures)
            _fail(self._stills)
            await self._goodbye()
        finally:
            await runner.cleanup()

    async def _goodbye(self) -> None:
        # Everybody leaves before the runner closes: aiohttp logs an error when its time-out and a handler's end meet.
        visits = dict(self._visits)
        if not visits:
            return
        await asyncio.wait(visits, timeout=_GOODBYE_S)
        for visit, transport in visits.items():
            # What a visitor never read is still waiting to be sent, and would wait for ever.
            if not visit.done() or transport.get_write_buffer_size():
                transport.abort()
        await asyncio.wait(visits, timeout=_GOODBYE_S)

    async def _guarded(
        self, request: "web.Request", handler: "Callable[[web.Request], Awaitable[web.StreamResponse]]"
    ) -> "web.StreamResponse":
        why = why_refused(request)
        if why:
            return refusal(403, why)
        visit, transport = asyncio.current_task(), request.transport
        if visit is None or transport is None:
            return refusal(503, "the visitor left before the answer")
        self._visits[visit] = transport
        try:
            return await handler(request)
        except _Over:
            return refusal(503, "the stream has ended")
        finally:
            del self._visits[visit]

    async def _page(self, request: "web.Request") -> "web.StreamResponse":
        from aiohttp import web

        return web.Response(body=_PAGE.read_bytes(), content_type="text/html", charset="utf-8", headers=HEADERS)

    async def _tell(self, request: "web.Request") -> "web.StreamResponse":
        from aiohttp import web

        return web.json_response(self._told(), headers=HEADERS)

    def _told(self) -> dict[str, Any]:
        is_ended = self._ending is not None and self._ending.is_set()
        return {**self._state(), "ended": is_ended}

    async def _command(self, request: "web.Request") -> "web.StreamResponse":
        from aiohttp import web

        if request.content_type != "application/json":
            return refusal(415, f"expected application/json, got {request.content_type}")
        try:
            command = json.loads(await request.read())
        except web.HTTPRequestEntityTooLarge:
            return refusal(413, f"a command has at most {_MAX_COMMAND_BYTES} bytes")
        except (ValueError, RecursionError) as error:
            return refusal(400, f"expected a JSON object in UTF-8: {error}")
        try:
            self._ask(command)
        except ValueError as error:
            return refusal(400, str(error))
        return web.json_response({"ok": True}, headers=HEADERS)

    async def _stream(self, request: "web.Request") -> "web.StreamResponse":
        from aiohttp import web

        headers = {**HEADERS, "Content-Type": f"multipart/x-mixed-replace; boundary={_BOUNDARY[2:].decode()}"}
        response = web.StreamResponse(headers=headers)
        response.force_close()
        connection = request.transport and request.transport.get_extra_info("socket")
        if connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        try:
            await response.prepare(request)
            await response.write(_BOUNDARY + b"\r\n")
            while True:
                jpeg = await self._next_picture()
                head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
                # The boundary right behind the picture: browsers show a part when they see its end, not a frame later.
                await response.write(b"".join((head, jpeg, b"\r\n", _BOUNDARY, b"\r\n")))
        except (ConnectionError, _Over):
            pass  # the visitor left, or we do
        return response

    async def _next_picture(self) -> bytes:
        self._check_open()
        waiting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._pictures.add(waiting)
        self.wants_picture = True
        try:
            return await waiting
        finally:
            self._pictures.discard(waiting)
            self.wants_picture = bool(self._pictures)

    async def _snapshot(self, request: "web.Request") -> "web.StreamResponse":
        from aiohttp import web

        self._check_open()
        waiting: asyncio.Future[tuple[NDArray[np.uint8], int]] = asyncio.get_running_loop().create_future()
        self._stills.add(waiting)
        self.wants_still = True
        try:
            image_bgr, sequence = await asyncio.wait_for(waiting, _STILL_S)
        except TimeoutError:
            return refusal(503, f"no frame came within {_STILL_S:g} s")
        finally:
            self._stills.discard(waiting)
        _, png = await asyncio.to_thread(cv2.imencode, ".png", image_bgr, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        name = f"segstream-{sequence:06d}.png"
        headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}
        return web.Response(body=png.tobytes(), content_type="image/png", headers=headers)

    async def _live(self, request: "web.Request") -> "web.StreamResponse":
        from aiohttp import web

        channel = web.WebSocketResponse(timeout=_ANSWER_S, max_msg_size=_MAX_COMMAND_BYTES)
        await channel.prepare(request)
        # Reading is how we learn that the visitor left.
        leaving = asyncio.ensure_future(channel.receive())
        ending = asyncio.ensure_future(self._until_ending())
        try:
            while not (leaving.done() or ending.done()):
                await channel.send_json(self._told())
                await asyncio.wait((leaving, ending), timeout=_STATE_S, return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                await channel.send_json(self._told())
        except ConnectionError:
            pass
        finally:
            leaving.cancel()
            ending.cancel()
            await asyncio.gather(leaving, ending, return_exceptions=True)
            await channel.close()
        return channel

    def _check_open(self) -> None:
        if self._ending is None or self._ending.is_set():
            raise _Over

    async def _until_ending(self) -> None:
        if self._ending is not None:
            await self._ending.wait()


class _Over(Exception):
    """The server ends; to those who wait for a frame."""


def _fail(waiting: "set[asyncio.Future[Any]]") -> None:
    for future in waiting:
        if not future.done():
            future.set_exception(_Over())


def _settle(waiting: "set[asyncio.Future[Any]]", value: Any) -> None:
    for future in waiting:
        if not future.done():
            future.set_result(value)
