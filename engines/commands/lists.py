"""Options that take several values behind one name: `--scales 0.5 1 1.5 --flip`.

click wants the name before each value (`--scales 0.5 --scales 1`), which works too. The trap: a list ends at the first
word that cannot belong to it, so a positional argument may follow unless it looks like one more value.
"""

import click

__all__ = ["Lists"]


class Lists(click.Command):
    """A command whose `multiple` options with numbers or choices may be given as lists."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Write the option's name before each further value, then parse as click does."""
        kinds = {
            name: option.type
            for option in self.params
            if isinstance(option, click.Option) and option.multiple
            for name in option.opts
        }
        spread: list[str] = []
        name, has_value = "", False
        for word in args:
            if word in kinds:
                name, has_value = word, False
            elif name and not has_value:
                has_value = True
            elif name and _belongs(word, kinds[name]):
                spread.append(name)
            else:
                name = ""
            spread.append(word)
        return super().parse_args(ctx, spread)


def _belongs(word: str, kind: object) -> bool:
    if isinstance(kind, click.Choice):
        return word in kind.choices
    if kind is click.FLOAT:
        try:
            float(word)
        except ValueError:
            return False
        return not word.startswith("-")
    return False
