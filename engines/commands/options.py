"""What several commands share: sizes on the command line, and the check for torch."""

import click

from engines.errors import BackendUnavailable
from engines.size import Size

__all__ = ["need_torch", "wxh"]


def wxh(text: str) -> Size:
    """A size on the command line."""
    try:
        return Size.from_text(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def need_torch() -> None:
    """Raise BackendUnavailable, with the command that installs it, where torch is missing."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise BackendUnavailable("this command needs torch; install it: pip install 'segstream[train]'") from error
