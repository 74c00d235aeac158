"""Pages that people and commands write together: prose by hand, tables by the command.

A generated part stands between `<!-- NAME: made by COMMAND -->` and `<!-- end of NAME -->`; what is outside the
marks is never touched, so a page can be rendered again as often as there are new figures.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from engines.errors import EngineError

__all__ = ["PageError", "fill", "filled", "table"]


class PageError(EngineError):
    """A page without the marks that its command fills."""


def filled(page: str, name: str, text: str) -> str:
    """The page with `text` between the marks of `name`.

    Raises:
        PageError: the marks are not there, or more than once.
    """
    pattern = re.compile(
        rf"(<!-- {re.escape(name)}: [^\n]*-->\n)(.*?)(<!-- end of {re.escape(name)} -->)", flags=re.DOTALL
    )
    new, n_found = pattern.subn(lambda found: f"{found[1]}\n{text.strip()}\n\n{found[3]}", page)
    if n_found != 1:
        raise PageError(
            f"{n_found} places for {name!r}, expected one: "
            f"a line `<!-- {name}: made by ... -->` and a line `<!-- end of {name} -->`"
        )
    return new


def fill(path: Path, parts: Mapping[str, str]) -> None:
    """Fill the parts of a file.

    Raises:
        PageError: no such file, or a part without its marks.
    """
    try:
        page = path.read_text(encoding="utf-8")
    except OSError as error:
        raise PageError(
            f"{path}: cannot be read ({error.strerror}); the page with its marks comes with the source"
        ) from error
    for name, text in parts.items():
        try:
            page = filled(page, name, text)
        except PageError as error:
            raise PageError(f"{path}: {error}") from error
    path.write_text(page, encoding="utf-8")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A Markdown table, padded so that it can be read as text too.

    Args:
        right: indices of the columns that hold numbers.
    """
    widths = [max(3, *(len(row[column]) for row in (head, *rows))) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "| " + " | ".join(padded) + " |"

    rule = "|".join("-" * (width + 1) + (":" if column in right else "-") for column, width in enumerate(widths))
    return "\n".join([line(head), f"|{rule}|", *map(line, rows)])
