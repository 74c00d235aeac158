"""Writes tests/engines/crf/golden.npz: what pydensecrf makes of the small scenes.

python -m tests.engines.crf.golden        (needs pydensecrf: pip install 'segstream[crf]')
"""

from pathlib import Path

import numpy as np

from engines.crf import PRESETS
from engines.crf.reference import mean_field
from tests.engines.crf.scenes import disc

PLACE = Path(__file__).with_name("golden.npz")
SIZE = (36, 44)
CASES = [(n_classes, preset, iterations) for n_classes in (2, 5) for preset in sorted(PRESETS) for iterations in (1, 5)]


def main() -> None:
    """Write the file anew."""
    made = {}
    for n_classes, preset, iterations in CASES:
        probs, image_bgr = disc(*SIZE, n_classes)
        made[f"{n_classes}-{preset}-{iterations}"] = mean_field(probs, image_bgr, PRESETS[preset], iterations)
    np.savez_compressed(PLACE, **made)


if __name__ == "__main__":
    main()
