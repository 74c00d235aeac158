"""Settings: strict models, YAML files and dotted overrides.

Floor 0: imports nothing of the other floors. A model refuses what it does not know; only `load`
knows the file, so only `load` turns a refusal into a `ConfigError` with file and dotted key.
"""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

__all__ = ["ConfigError", "Options", "load", "near_matches", "parse_override"]


class ConfigError(Exception):
    """Unknown key, wrong type or impossible value; the command line exits with 2."""


class Options(BaseModel):
    """Base of every group of options: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


M = TypeVar("M", bound=Options)


def load(model: type[M], path: Path | None = None, overrides: Iterable[str] = ()) -> M:
    """Read a YAML file, apply `dotted.key=value` overrides, and validate.

    Args:
        model: the options class to make.
        path: a YAML file, or None for the defaults.
        overrides: strings like `crf.iterations=5`; values are parsed as YAML. They win over the file.

    Raises:
        ConfigError: with the file, the dotted key, what was received and what was expected.
    """
    where = str(path) if path else "the command line"
    tree: dict[str, Any] = {}
    if path is not None:
        try:
            loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror}); pass a YAML file") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: not a text file; a config is YAML, see configs/demo.yaml") from error
        except yaml.YAMLError as error:
            raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
        if loaded is not None and not isinstance(loaded, dict):
            raise ConfigError(f"{path}: holds a {type(loaded).__name__}, expected keys and values")
        tree = loaded or {}
    for text in overrides:
        keys, value = parse_override(text)
        _assign(tree, keys, value, text)
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_told(error, model, where)) from error


def parse_override(text: str) -> tuple[list[str], Any]:
    """Split `dotted.key=value` into its keys and its value, the value read as YAML."""
    key, separator, raw = text.partition("=")
    keys = key.strip().split(".")
    if not separator or not all(keys):
        raise ConfigError(f"override {text!r}: expected dotted.key=value, such as crf.iterations=5")
    try:
        return keys, yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {text!r}: the value is not valid YAML") from error


def near_matches(word: str, known: Iterable[str]) -> str:
    """Say which known words are close to `word`, as the end of an error message."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(name) for name in close) + "?"
    return "known: " + ", ".join(names)


def _assign(tree: dict[str, Any], keys: list[str], value: Any, text: str) -> None:
    node: Any = tree
    for key in keys[:-1]:
        _check_place(node, key, text)
        if isinstance(node, list) and key.isdigit() and int(key) < len(node):
            node = node[int(key)]
            continue
        if not isinstance(node, dict):
            raise ConfigError(f"override {text!r}: {key!r} is below a value, not below a group of keys")
        node = node.setdefault(key, {})
    last = keys[-1]
    _check_place(node, last, text)
    if isinstance(node, list) and last.isdigit() and int(last) < len(node):
        node[int(last)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise ConfigError(f"override {text!r}: {last!r} is below a value, not below a group of keys")


def _check_place(node: Any, key: str, text: str) -> None:
    """A list takes the place of one of its entries; to add one, the whole list is given."""
    if isinstance(node, list) and not (key.isdigit() and int(key) < len(node)):
        places = f"0 to {len(node) - 1}" if node else "none: it is empty"
        raise ConfigError(f"override {text!r}: {key!r} is no place in a list of {len(node)} (places: {places})")


def _told(error: ValidationError, model: type[BaseModel], where: str) -> str:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    dotted = ".".join(place) or "(top level)"
    if first["type"] == "extra_forbidden":
        hint = near_matches(place[-1], _fields_at(model, place[:-1]))
        return f"{where}: {dotted}: unknown key; {hint}"
    reason = first["msg"].removeprefix("Value error, ")
    received = first.get("input")
    shown = "" if isinstance(received, Mapping) else f" (received {received!r})"
    return f"{where}: {dotted}: {reason}{shown}"


def _fields_at(model: Any, place: list[str]) -> list[str]:
    for key in place:
        if key.isdigit():
            continue
        field = getattr(model, "model_fields", {}).get(key)
        if field is None:
            return []
        model = _options_in(field.annotation)
    return list(getattr(model, "model_fields", {}))


def _options_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _options_in(inner)
        if found is not None:
            return found
    return None
