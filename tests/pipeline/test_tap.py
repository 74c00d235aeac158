"""What segment gives to whoever taps the corridor."""

import pytest

from engines.spec import EngineSpec
from pipeline.stages.segment import outputs_wanted
from tests.pipeline.effects.scenes import PERSON, STREET, Meaning, spec_of

THREE: Meaning = (("sky", "person", "tree"), ((0, 0, 0), (1, 2, 3), (4, 5, 6)), 1)


@pytest.mark.parametrize(
    ("meaning", "masks"), [(PERSON, ("alpha",)), (STREET, ("labels",)), (THREE, ("alpha", "labels"))]
)
def test_the_tap_keeps_what_segment_wrote(meaning: Meaning, masks: tuple[str, ...]) -> None:
    """Logits, and the planes that render will read: none that is empty, none left out."""
    output = spec_of(meaning, 64, 32).output

    wanted = outputs_wanted(output, {"tap": "folder"})

    assert wanted == ("logits", *masks)


def test_without_a_tap_no_logits_are_computed() -> None:
    """A stream does not pay for what nobody reads."""
    spec: EngineSpec = spec_of(PERSON, 64, 32)

    assert outputs_wanted(spec.output, {"tap": ""}) == ("alpha",)
