"""The table of config keys in docs/train.md, from the options themselves: `python docs/config_keys.py` rewrites it."""

import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run as a script, from anywhere

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from engines.training.config import TrainConfig

PAGE = Path(__file__).parent / "train.md"
BEGIN, END = "<!-- keys: made by docs/config_keys.py -->\n", "<!-- end of keys -->\n"


def rewritten(page: str) -> str:
    """The page with its tables made again."""
    head, rest = page.split(BEGIN)
    return head + BEGIN + "\n" + _tables() + END + rest.split(END)[1]


def _tables() -> str:
    told = [_table("", TrainConfig)]
    for key, kind, is_many in _groups(TrainConfig):
        told.append(f"### `{key}`{', each' if is_many else ''}\n\n{_table('', kind)}")
    return "\n".join(told)


def _table(prefix: str, model: type[BaseModel]) -> str:
    groups = {key for key, _, _ in _groups(model)}
    lines = ["| key | default | |", "|---|---|---|"]
    for key, field in model.model_fields.items():
        told = " ".join((field.description or "").split()).replace("|", "\\|")
        choices = _choices(field.annotation)
        told = " ".join(filter(None, [told, f"One of {choices}." if choices and choices not in told else ""]))
        default = "see below" if key in groups else _shown(field.default)
        lines.append(f"| `{prefix}{key}` | {default} | {told} |")
    return "\n".join(lines) + "\n"


def _groups(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel], bool]]:
    """Keys that hold more keys: name, their model, and whether there is a list of them."""
    for key, field in model.model_fields.items():
        kinds = [kind for kind in _within(field.annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if kinds:
            yield key, kinds[0], "tuple" in str(field.annotation)


def _within(annotation: Any) -> Iterator[Any]:
    yield annotation
    for inner in get_args(annotation):
        yield from _within(inner)


def _choices(annotation: Any) -> str:
    """`adamw, sgd`: what a key may hold, where that is a list."""
    for kind in _within(annotation):
        if get_origin(kind) is Literal:
            return ", ".join(str(value) for value in get_args(kind))
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            return ", ".join(kind)
    return ""


def _shown(default: Any) -> str:
    if default is PydanticUndefined:
        return "required"
    if default is None or default in ("", ()):
        return "none"
    if isinstance(default, tuple):
        return "`[" + ", ".join(str(value) for value in default) + "]`"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


if __name__ == "__main__":
    before = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(rewritten(before), encoding="utf-8")
    print(f"{PAGE.name}: {'as it was' if rewritten(before) == before else 'rewritten'}")
