"""What a page asked for, checked, until render asks for it.

The trap: a page is not the person at the terminal. What it sends is looked at like any text from outside, and an
effect whose value names a file is not taken: another user of this machine could look at pictures with it.
"""

import re
import threading
from typing import Any

from configs import ConfigError

__all__ = ["Asked", "CommandRefused"]

_HARMLESS_VALUE = re.compile(r"\d+(?:\.\d+)?|#[0-9a-fA-F]{6}|[a-z]+")


class CommandRefused(ValueError):
    """Not a command of ours; the message says what was expected."""


class Asked:
    """Commands between the server's thread, which adds, and render's, which takes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._commands: dict[str, dict[str, Any]] = {}
        self._engines: tuple[str, ...] = ()
        self._effects: tuple[str, ...] = ()
        self._texts: set[str] = set()

    def learn(self, numbers: dict[str, Any]) -> None:
        """Remember which effects and engines there are, and which effect the run has by itself."""
        with self._lock:
            self._engines = tuple(numbers.get("engines", ()))
            self._effects = tuple(numbers.get("effects", ()))
            if "effect" in numbers:
                self._texts.add(str(numbers["effect"]))

    def ask(self, command: Any) -> None:
        """Keep a command; of two for the same thing the later one holds, so that a slider leaves one, not a hundred.

        Raises:
            CommandRefused: it is not one of ours.
        """
        checked = self._checked(command)
        key = str(checked.get("set") or checked["do"])
        with self._lock:
            self._commands.pop(key, None)
            self._commands[key] = checked

    def take(self) -> list[dict[str, Any]]:
        """All that was asked since the last call, in order."""
        with self._lock:
            commands, self._commands = self._commands, {}
        return list(commands.values())

    def _checked(self, command: Any) -> dict[str, Any]:
        match command:
            case {"do": "quit" | "snapshot" as what, **rest} if not rest:
                return {"do": what}
            case {"set": "effect", "value": str(value), **rest} if not rest:
                return {"set": "effect", "value": self._effect(value)}
            case {"set": "engine", "value": str(value), **rest} if not rest:
                if self._engines and value not in self._engines:
                    raise CommandRefused(f"engine: expected one of {', '.join(self._engines)}, got {value!r}")
                return {"set": "engine", "value": value}
            case {"set": "mask", "value": bool(value), **rest} if not rest:
                return {"set": "mask", "value": value}
            # A bool is an int to Python, not to a person.
            case {"set": "strength", "value": int(value) | float(value), **rest} if not (
                rest or isinstance(value, bool)
            ):
                if not 0 <= value <= 2:
                    raise CommandRefused(f"strength: expected a number from 0 to 2, got {value!r}")
                return {"set": "strength", "value": float(value)}
        raise CommandRefused(
            'expected {"do": "quit" or "snapshot"}, or {"set": NAME, "value": VALUE} with effect or engine and a text, '
            f"mask and true or false, strength and a number from 0 to 2; got {command!r}"
        )

    def _effect(self, text: str) -> str:
        with self._lock:
            names, seen = self._effects, text in self._texts
        if seen:
            return text
        name, separator, value = text.partition(":")
        if names and name not in names:
            raise CommandRefused(f"effect: expected one of {', '.join(names)}, got {text!r}")
        if separator and not _HARMLESS_VALUE.fullmatch(value):
            raise CommandRefused(f"effect {name}: a page may set a number, a word or #rrggbb, got {value!r}")
        from pipeline.effects import effect_from_text

        try:
            effect_from_text(text)
        except ConfigError as error:
            raise CommandRefused(str(error)) from error
        return text
