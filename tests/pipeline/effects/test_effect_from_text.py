"""The grammar of effects: NAME[:VALUE], and what is said when it is not kept."""

from pathlib import Path

import pytest

from configs import ConfigError
from pipeline.effects import EFFECTS, effect_from_text
from pipeline.effects.blur import Blur
from pipeline.effects.overlay import Overlay
from pipeline.effects.pixelate import Pixelate
from pipeline.effects.replace import Cutout, Replace
from pipeline.effects.split import Split


@pytest.mark.parametrize("name", EFFECTS)
def test_a_name_alone_gives_the_defaults(name: str) -> None:
    """Every effect works without a value."""
    assert effect_from_text(name) == EFFECTS[name]()


@pytest.mark.parametrize(
    ("text", "effect"),
    [
        ("blur:7.5", Blur(sigma_px=7.5)),
        (" blur : 20 ", Blur(sigma_px=20)),
        ("replace:#203040", Replace(backdrop="#203040")),
        ("cutout:black", Cutout(background="black")),
        ("overlay:0.8", Overlay(opacity=0.8)),
        ("pixelate:32", Pixelate(block_px=32)),
        ("split", Split(after="blur")),
        ("split:pixelate:32", Split(after="pixelate:32")),
    ],
)
def test_the_value_sets_the_effects_own_option(text: str, effect: object) -> None:
    """What follows the first colon is the value, further colons included."""
    assert effect_from_text(text) == effect


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("blurr", "unknown effect 'blurr'; did you mean 'blur'"),
        ("", "unknown effect ''; known: blur, cutout"),
        ("none:1", "none takes no value"),
        ("blur:", "nothing follows the colon"),
        ("blur:wide", "sigma_px: .*number.*received 'wide'"),
        ("blur:0", "sigma_px: .*greater than 0"),
        ("blur:nan", "sigma_px"),
        ("blur:1000", "sigma_px: .*200"),
        ("pixelate:7.5", "block_px: .*integer"),
        ("overlay:1.5", "opacity: .*1"),
        ("replace:teel", "backdrop: neither a file nor a colour; did you mean 'teal'"),
        ("replace:holiday/beach.jpg", "backdrop: there is no such file"),
        ("cutout:beach.jpg", "background: not a colour; .*#rrggbb"),
        ("split:blurr", "after: effect 'blurr': unknown effect 'blurr'; did you mean 'blur'"),
        ("split:split:blur", "after: a split cannot be split again"),
    ],
)
def test_what_cannot_be_is_refused_with_a_remedy(text: str, told: str) -> None:
    """One line: what was received, what was expected, what is near."""
    with pytest.raises(ConfigError, match=told) as refusal:
        effect_from_text(text)

    assert "\n" not in str(refusal.value)
    assert repr(text) in str(refusal.value)


def test_a_folder_is_no_backdrop(tmp_path: Path) -> None:
    """A path that leads to something else than a file is told apart from one that leads nowhere."""
    with pytest.raises(ConfigError, match="backdrop: is a folder"):
        effect_from_text(f"replace:{tmp_path}")
