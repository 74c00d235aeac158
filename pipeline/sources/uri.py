"""Addresses with passwords in them: how they are shown, and how they are taken apart.

Passwords of cameras hold `@`, `/` and `:` unescaped more often than one hopes. `masked` therefore hides
everything from the first `:` to the last `@`: it may hide a part of a path, it never shows a password.
"""

import re
from dataclasses import dataclass
from urllib.parse import quote

__all__ = ["Address", "masked", "scrubbed", "scrubbed_of_logins", "split_address"]

HIDDEN = "***"

_SCHEME = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]*)://")
_SECRET_QUERY = re.compile(r"(?i)([?&;](?:[a-z_-]*(?:pass|pwd|token|secret|sig|auth|key|cred)[a-z_-]*)=)[^&;#]*")


@dataclass(frozen=True)
class Address:
    """A network address taken apart; `login` is as typed, never shown."""

    scheme: str
    login: str
    rest: str
    """Host, port, path and query."""

    def __repr__(self) -> str:
        return f"Address({self.scheme})"  # the rest may hold a part of the password, when it was read wrongly

    @property
    def host(self) -> str:
        """Name or number, without the port."""
        netloc = re.split(r"[/?#]", self.rest, maxsplit=1)[0]
        return netloc[1 : netloc.find("]")] if netloc.startswith("[") else netloc.partition(":")[0]

    def for_reader(self) -> str:
        """The address as FFmpeg wants it: user and password percent-encoded, once."""
        if not self.login:
            return f"{self.scheme}://{self.rest}"
        user, colon, password = self.login.partition(":")
        return f"{self.scheme}://{_encoded(user)}{colon}{_encoded(password)}@{self.rest}"


def masked(text: str) -> str:
    """An address without its password and without secrets in its query; any other text as it is."""
    match = _SCHEME.match(text)
    if match is None:
        return text
    rest = text[match.end() :]
    login, at, tail = rest.rpartition("@")
    if at and ":" in login:
        rest = f"{login.partition(':')[0]}:{HIDDEN}@{tail}"
    return match.group(0) + _SECRET_QUERY.sub(rf"\g<1>{HIDDEN}", rest)


def scrubbed(message: str, address: str) -> str:
    """A message of somebody else's library, without the password that `address` holds."""
    clean = message.replace(address, masked(address))
    parts = split_address(address)
    if parts is None:
        return clean
    clean = clean.replace(parts.for_reader(), masked(address))
    widest = address.rpartition("@")[0].partition("://")[2].partition(":")[2]
    for password in (widest, parts.login.partition(":")[2]):
        for secret in (password, _encoded(password)):
            if len(secret) > 2:  # a shorter one would hide letters of every word
                clean = clean.replace(secret, HIDDEN)
    return clean


def split_address(text: str) -> Address | None:
    """Take `scheme://user:password@host…` apart, with `@` and `/` allowed in the password; None for other text.

    `rtsp://u:a@b/c@host/p` can be read in two ways: the standard one wins if its host can be a host, else the
    last `@` ends the password. Percent-encode the password to be sure.
    """
    match = _SCHEME.match(text)
    if match is None:
        return None
    scheme, rest = match.group(1).lower(), text[match.end() :]
    netloc = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" not in rest:
        return Address(scheme, "", rest)
    standard = netloc.rfind("@")
    last = rest.rfind("@")
    if standard < 0:
        # No `@` before the first slash: either the password holds the slash, or the path holds the `@`.
        port = netloc.rpartition(":")[2]
        if ":" not in netloc or port.isdecimal():
            return Address(scheme, "", rest)
        standard = last
    elif last != standard and not _can_be_host(netloc[standard + 1 :]) and _can_be_host(rest[last + 1 :]):
        standard = last
    return Address(scheme, rest[:standard], rest[standard + 1 :])


def _can_be_host(text: str) -> bool:
    host, _, port = re.split(r"[/?#]", text, maxsplit=1)[0].partition(":")
    return bool(host) and ("." in host or host == "localhost" or host.startswith("[") or port.isdecimal())


def _encoded(part: str) -> str:
    # A `%41` that is already encoded stays; a bare `%` is encoded.
    return quote(re.sub(r"%(?![0-9a-fA-F]{2})", "%25", part), safe="%")


_LOGIN = re.compile(r"([A-Za-z0-9._-]+):(?!//)([^\s:@'\"]+)@")


def scrubbed_of_logins(message: str) -> str:
    """A message without anything that looks like `user:password@`, wherever it was typed by mistake."""
    return _LOGIN.sub(rf"\1:{HIDDEN}@", message)
