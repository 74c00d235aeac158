"""Who may speak to the page's server: this machine, and from a browser our own page alone.

The trap: any page of the web may send requests to a loopback port. So every request's Host must name this machine,
its Origin, where there is one, must be ours, and every answer forbids other pages to use it.
"""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import web

__all__ = ["HEADERS", "refusal", "why_refused"]

_OURS = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?", re.IGNORECASE)
_POLICY = (
    "default-src 'none'; img-src 'self' data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self' ws://127.0.0.1:* ws://localhost:*; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def refusal(status: int, why: str) -> "web.StreamResponse":
    """An answer that says why not."""
    from aiohttp import web

    return web.json_response({"ok": False, "why": why}, status=status, headers=HEADERS)


def why_refused(request: "web.Request") -> str:
    """What is wrong with who asks; empty when nothing is."""
    # Another name in Host is a stranger's name that was made to point here (DNS rebinding); the port may be
    # another one, as behind `ssh -L`.
    host = request.headers.get("Host", "")
    if not _OURS.fullmatch(host):
        return f"this page is for http://127.0.0.1, not for {host!r}"
    origin = request.headers.get("Origin")
    if origin is not None and origin != f"http://{host}":
        return f"a page of {origin!r} may not ask here"
    # Pictures of another page's <img> come without Origin; following a link to our page is fine.
    if request.path != "/" and request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
        return "another page may not ask here"
    return ""
