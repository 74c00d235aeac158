"""What is made of a picture and its matte: blur, replace, cutout, overlay, pixelate, split, none.

An effect is named by one text, `NAME[:VALUE]`; `effect_from_text` makes options of it, `options.open(format)`
a painter. To add one: write its file, add its line to `EFFECTS`. The trap: `mask off` is the effect `none`.
"""

from pydantic import ValidationError

from configs import ConfigError, near_matches
from pipeline.effects.blur import Blur
from pipeline.effects.effect import Effect, Image, Painter
from pipeline.effects.overlay import Overlay
from pipeline.effects.pixelate import Pixelate
from pipeline.effects.plain import Nothing
from pipeline.effects.replace import Cutout, Replace
from pipeline.effects.split import Split

__all__ = ["EFFECTS", "Effect", "Image", "Painter", "effect_from_text"]

EFFECTS: dict[str, type[Effect]] = {
    "blur": Blur,
    "replace": Replace,
    "cutout": Cutout,
    "overlay": Overlay,
    "pixelate": Pixelate,
    "split": Split,
    "none": Nothing,
}


def effect_from_text(text: str) -> Effect:
    """Options from an effect's text, such as `blur`, `blur:20`, `replace:beach.jpg`, `split:pixelate:30`.

    Raises:
        ConfigError: no such effect, a value it does not take, or a value where it takes none.
    """
    name, colon, value = (part.strip() for part in text.partition(":"))
    if name not in EFFECTS:
        raise ConfigError(f"effect {text!r}: unknown effect {name!r}; {near_matches(name, EFFECTS)}")
    kind = EFFECTS[name]
    if not colon:
        return kind()
    if kind.VALUE is None:
        raise ConfigError(f"effect {text!r}: {name} takes no value; write {name!r}")
    if not value:
        raise ConfigError(
            f"effect {text!r}: nothing follows the colon; write {name!r} or '{name}:VALUE' ({kind.VALUE})"
        )
    try:
        return kind.model_validate({kind.VALUE: value})
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"effect {text!r}: {kind.VALUE}: {reason} (received {value!r})") from None
