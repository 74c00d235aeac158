"""What several commands share: sizes on the command line, and the check for torch."""

import click

from engines.errors import BackendUnavailable

__all__ = ["Size", "need_torch", "wxh"]

Size = tuple[int, int]
"""(width, height)."""


def wxh(text: str) -> Size:
    """`WxH` on the command line, (width, height) inside."""
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise click.BadParameter(f"{text!r}: expected WIDTHxHEIGHT, such as 512x288")
    return int(width), int(height)


def need_torch() -> None:
    """Raise BackendUnavailable, with the command that installs it, where torch is missing."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise BackendUnavailable("this command needs torch; install it: pip install 'segstream[train]'") from error
